"""The committed lists of what is expected of each target, and the scripts that show a finding without the gate.

A driver's folder holds a list for each of its targets, `expected*.json`; the list says which target it is about. A
script uses the target's own public API and nothing of the gate, and exits 0 as long as its finding is there. `exported`
makes one text of it, with the files of the folder that it uses, so that it can be handed to the target's maintainers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from pawl_gate.expect import Expected, ExpectError, read
from pawl_gate.targets.registry import TARGETS, drivers_folder

SECONDS: Final = 120
"""How long a script may take. Those that are listed take seconds."""


class NoScript(Exception):
    """A script is not there, or cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The list of one target."""

    path: Path
    expected: Expected

    @property
    def folder(self) -> Path:
        """Where its scripts lie."""
        return self.path.parent


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry of a list."""

    target: str
    id: str
    reason: str
    needs: str | None
    """What an attacker needs, a word of `expect.CLASSES`; None where nobody has said it."""
    scripts: tuple[str, ...]
    is_seen: bool
    """Whether the gate sees it; if not, a script alone shows it."""
    folder: Path


def baselines(drivers: Path | None = None) -> dict[str, Baseline]:
    """The lists by target, in the order of the registry. Raises: ExpectError, OSError."""
    found: dict[str, Baseline] = {}
    for path in sorted((drivers or drivers_folder()).glob("*/expected*.json")):
        try:
            expected = read(path)
        except ExpectError as error:
            raise ExpectError(f"{path}: {error}") from None
        if expected.target in found:
            raise ExpectError(f"{path}: {found[expected.target].path} is about target {expected.target!r} too")
        found[expected.target] = Baseline(path, expected)
    known = [name for name in TARGETS if name in found]
    return {name: found[name] for name in (*known, *sorted(set(found) - set(known)))}


def findings(baseline: Baseline) -> Iterator[Finding]:
    """Everything on a list, what the gate sees first."""
    expected = baseline.expected
    for id_, reason in sorted(expected.findings.items()):
        needs, scripts = expected.classes.get(id_), expected.scripts.get(id_, ())
        yield Finding(expected.target, id_, reason, needs, scripts, True, baseline.folder)
    for one in expected.unseen:
        yield Finding(expected.target, one.id, one.reason, one.needs, one.scripts, False, baseline.folder)


# -- scripts ----------------------------------------------------------------------------------------------------------


def command(folder: Path, script: str) -> list[str]:
    """The command that runs a script of a list in `folder`. Raises: NoScript."""
    name, _, part = script.partition("#")
    path = folder / name
    if not path.is_file():
        raise NoScript(f"there is no {path}")
    if path.suffix == ".js":
        return [os.environ.get("PAWL_NODE", "node"), str(path)]
    if path.suffix == ".py":
        # The peer's own environment, where it has one.
        own = folder / ".venv" / "bin" / "python"
        return [str(own) if own.is_file() else sys.executable, str(path)]
    if path.suffix == ".c":
        program = folder / "build" / path.stem
        if not program.is_file():
            raise NoScript(f"{program} is not built; run `make setup`")
        return [str(program), *([part] if part else [])]
    if os.access(path, os.X_OK):
        return [str(path), *([part] if part else [])]
    raise NoScript(f"nothing is known that runs {path}")


def reproduced(folder: Path, script: str) -> tuple[bool, str]:
    """Whether a script shows its finding, and what it said. Raises: NoScript."""
    words = command(folder, script)
    try:
        ran = subprocess.run(  # noqa: S603 - a script that the list in this checkout names
            words, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except OSError as error:
        raise NoScript(f"{words[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        return False, f"it did not end within {SECONDS} s"
    return ran.returncode == 0, ran.stdout + ran.stderr


IN_JS: Final = re.compile(r"require\('(\./|\.\./\.\./)([a-z0-9_-]+)'\)")
"""A file beside it, or one that drivers share."""
IN_PYTHON: Final = re.compile(r"^from ([a-z0-9_]+) import (?:\([^)]*\)|[^(\n]*)\n", re.MULTILINE)
FUTURE: Final = "from __future__ import annotations\n"

END: Final = "END_OF_THE_FILE"

DRIVER_HEADER: Final = "driver.h"
"""Whatever includes it speaks to the gate, and is no part of a finding."""

COLUMNS: Final = 110
"""Of a comment."""


def exported(finding: Finding, script: str) -> str:
    """One text that shows the finding, ended by a newline: the script, and what it uses of its folder.

    A program of several files becomes a shell script that builds it. Raises: NoScript, OSError.
    """
    name, _, part = script.partition("#")
    path = finding.folder / name
    if not path.is_file():
        raise NoScript(f"there is no {path}")
    if path.suffix == ".js":
        said = _said(finding, "//", f"node {path.name}, where the package of the target is installed")
        return f"{said}{_joined_js(path)}\n"
    if path.suffix == ".c":
        said = _said(finding, "#", "sh, where a C compiler, pkg-config and the headers of the target are installed")
        return f"#!/bin/sh\n{said}{_built_c(path, finding.folder)}./finding {part}".rstrip() + "\n"
    said = _said(finding, "#", f"python {path.name}, where the package of the target is installed")
    return f"{said}{_joined_python(path, finding.folder)}\n"


def _said(finding: Finding, mark: str, how: str) -> str:
    sentences = (
        f"{finding.id} on {finding.target}: {finding.reason}",
        f"Run it by {how}. It exits 0 as long as the finding is there, and uses nothing but the target's public API.",
    )
    lines = [textwrap.wrap(words, COLUMNS, break_on_hyphens=False, break_long_words=False) for words in sentences]
    return "".join(f"{mark} {line}\n" for line in chain.from_iterable(lines)) + "\n"


def _joined_js(path: Path) -> str:
    def inside(match: re.Match[str]) -> str:
        shared = _joined_js(path.parent / match[1] / f"{match[2]}.js")
        return f"(() => {{\nconst module = {{ exports: {{}} }};\n{shared}\nreturn module.exports;\n}})()"

    return IN_JS.sub(inside, path.read_text("utf-8")).rstrip()


def _joined_python(path: Path, folder: Path) -> str:
    """The script, and each module of its folder and those above it, where it is first imported from."""
    done = set[Path]()

    def joined(path: Path) -> str:
        return IN_PYTHON.sub(inside, path.read_text("utf-8"))

    def inside(match: re.Match[str]) -> str:
        places = [each / f"{match[1]}.py" for each in (path.parent, folder, folder.parent)]
        shared = next((each for each in places if each.is_file()), None)
        # What is renamed at its import stays one.
        if shared is None or " as " in match[0]:
            return match[0]
        if shared in done:
            return ""
        done.add(shared)
        return f"{joined(shared).rstrip()}\n\n\n"

    whole = joined(path).rstrip()
    # It must come first in a file.
    return FUTURE + whole.replace(FUTURE, "") if FUTURE in whole else whole


def _built_c(path: Path, folder: Path) -> str:
    """The commands that build a program: the files of its folder, and those of the peer but for the driver."""
    files = [one for one in sorted(folder.glob("*.[ch]")) if one.name != DRIVER_HEADER and not _is_drivers(one)]
    files += sorted(path.parent.glob("*.[ch]"))
    own = path.parent.relative_to(folder)
    sources = " ".join(str(one.relative_to(folder)) for one in files if one.suffix == ".c")
    written = "".join(
        f"cat > {one.relative_to(folder)} <<'{END}'\n{one.read_text('utf-8').rstrip()}\n{END}\n" for one in files
    )
    build = f"cc -std=c11 -I. -o finding {sources} $(pkg-config --cflags --libs libsignal-protocol-c libcrypto)\n"
    return f'set -eu\ncd "$(mktemp -d)"\nmkdir {own}\n{written}{build}'


def _is_drivers(path: Path) -> bool:
    return f'#include "{DRIVER_HEADER}"' in path.read_text("utf-8")
