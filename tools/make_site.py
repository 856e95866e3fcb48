#!/usr/bin/env python3
"""Build the documentation into build/site: `make docs`.

Copies the pages to build/site-source, adds what is written from the code (the catalogue with the code behind each
invariant), and runs Sphinx on the copy, with every warning an error. The generator has an environment of its own,
`.venv-docs`, made from requirements/docs.txt at the first run. Exit codes: 0 built, 1 a page is wrong, 3 not set up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from pawl_spec.invariants import INVARIANTS
from tools.make_catalogue import ROOT, catalogue, evidence_page

DOCS = ROOT / "docs"
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
VENV = ROOT / ".venv-docs"
LOCK = ROOT / "requirements" / "docs.txt"

LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")


def outside_pages() -> dict[Path, str]:
    """Pages that live outside of docs/, and where the site shows them."""
    pages = {ROOT / "SECURITY.md": "project/security.md", ROOT / "CHANGELOG.md": "project/changelog.md"}
    drivers = sorted(ROOT.glob("drivers/*/README.md"))
    pages |= {path: f"project/driver-{path.parent.name}.md" for path in drivers}
    more = (path for path in sorted(ROOT.glob("drivers/*/[A-Z]*.md")) if path not in drivers)
    return pages | {path: f"project/driver-{path.parent.name}-{path.stem.lower()}.md" for path in more}


def stage() -> None:
    """Make the copy that the site is built from."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(DOCS, SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    places = {path.resolve(): path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    places |= {path.resolve(): name for path, name in outside_pages().items()}
    (SOURCE / "reference" / "evidence").mkdir()
    (SOURCE / "project").mkdir()
    for path, name in places.items():
        (SOURCE / name).write_text(relinked(path, name, places), encoding="utf-8")
    (SOURCE / "reference" / "invariants.md").write_text(catalogue("evidence"), encoding="utf-8")
    for entry in INVARIANTS:
        page = "---\norphan: true\n---\n\n" + evidence_page(entry)
        (SOURCE / "reference" / "evidence" / f"{entry.id}.md").write_text(page, encoding="utf-8")


def relinked(path: Path, name: str, places: dict[Path, str]) -> str:
    """The text of a page with its relative links as they are from its place on the site."""

    def new(match: re.Match[str]) -> str:
        target = (path.parent / match[2]).resolve()
        # What is no page comes along as a file, so that a link to it does not end on the disk of this machine.
        if target not in places and target.is_file():
            there = Path("project") / "files" / target.relative_to(ROOT)
            (SOURCE / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, SOURCE / there)
            return f"{match[1]}{os.path.relpath(there, Path(name).parent)}{match[3]}"
        if target not in places:
            return match[0]
        return f"{match[1]}{os.path.relpath(places[target], Path(name).parent)}{match[3]}"

    return LINK.sub(new, path.read_text("utf-8"))


def set_up() -> bool:
    """Make the generator's environment, unless it is as the lock says."""
    stamp, mark = VENV / "pawl-stamp", sha256(LOCK.read_bytes() + sys.version.encode() + bytes(ROOT)).hexdigest()
    if stamp.is_file() and stamp.read_text() == mark:
        return True
    print("docs: making .venv-docs (requirements/docs.txt, hashes checked)", file=sys.stderr)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    # The lock is complete; tools/set_up.py says why pip is not to follow requirements itself.
    locked = [*pip, "--no-deps", "--require-hashes", "-r", str(LOCK)]
    for command in ([sys.executable, "-m", "venv", "--clear", str(VENV)], locked):
        if subprocess.call(command, cwd=ROOT) != 0:
            return False
    stamp.write_text(mark)
    return True


def main() -> int:
    """Build the site and return the exit code."""
    if not set_up():
        print("docs: the generator could not be installed", file=sys.stderr)
        return 3
    stage()
    shutil.rmtree(SITE, ignore_errors=True)
    # Sphinx -W ends with 1 if anything was worth a warning; --keep-going shows them all.
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-n", "-b", "html"]
    trees = ["-d", str(ROOT / "build" / "site-trees"), str(SOURCE), str(SITE)]
    if subprocess.call([str(VENV / "bin" / "python"), *command, *trees], cwd=ROOT) != 0:
        return 1
    print("docs: build/site/index.html", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
