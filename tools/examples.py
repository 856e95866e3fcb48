"""The Python examples of the documentation, as code that can be run.

Blocks fenced as `python` are run by the tests; a sketch that cannot run is fenced as `py`.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """The README and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path) -> list[str]:
    """The document's Python blocks, in order."""
    return FENCE.findall(document.read_text(encoding="utf-8"))


def program(document: Path) -> str:
    """All Python blocks of a document as one program: later blocks go on where earlier ones ended.

    The line numbers are those of the document, so that a traceback points into it.
    """
    text = document.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for match in FENCE.finditer(text):
        start = text.count("\n", 0, match.start(1))
        for offset, line in enumerate(match.group(1).splitlines()):
            lines[start + offset] = line
    return "\n".join(lines) + "\n"
