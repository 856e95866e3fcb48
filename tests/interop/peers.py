"""Implementations for the tests of the matrix: the Python template as a driver, as it is or with a few words changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pawl_gate.targets.driver import DriverTarget
from tools.examples import ROOT

TEMPLATE = (ROOT / "src" / "pawl_gate" / "templates" / "driver.py").read_text("utf-8")

OTHER_LABEL = """
from pawl.crypto import kdf
label = kdf.HKDFExpand
kdf.HKDFExpand = lambda hash_, length, info: label(hash_, length, info.replace(b"Message", b"Massage"))
"""
"""Keys are derived under another label: it understands itself, and nobody else."""

ENDS = 'sys.exit(3) if verb == "decrypt" else None'
HANGS = '__import__("time").sleep(30) if verb == "decrypt" else None'


def program(folder: Path, name: str = "peer", *, before: str = "", on_each: str = "", **words: str) -> Path:
    """A driver: `before` is run at its start, `on_each` before each verb, and of `words` each is put for its name."""
    text = TEMPLATE.replace("T = TypeVar", f"{before}\nT = TypeVar", 1)
    if on_each:
        text = text.replace(
            "    try:\n        result = getattr", f"    {on_each}\n    try:\n        result = getattr", 1
        )
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "spec")])
    head, _, rest = text.partition("\n")
    assert head.startswith("#!")
    put = f"import sys; sys.path[:0] = {paths.split(os.pathsep)!r}\n"
    begin = "from __future__ import annotations\n"
    path.write_text(f"#!{sys.executable}\n" + rest.replace(begin, begin + put, 1), "utf-8")
    path.chmod(0o755)
    return path


def driven(path: Path, *, timeout: float = 10.0) -> DriverTarget:
    """The driver as a target."""
    return DriverTarget([path], timeout=timeout)
