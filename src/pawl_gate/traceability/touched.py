"""What a change touches: the invariants whose code was changed since a revision, by the ids that the code names.

It errs on the side of more. A file of code touches what it names, what it named before, and what the Python files name
that import it, directly or not. A change of what judges, of the driver, or of a file of code that leads to no id
touches every invariant. What it cannot see: an effect on code that neither imports nor is the changed file, such as a
record that one file writes and another one reads. The whole run on the main branch is what sees that.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pawl_gate.traceability import named
from pawl_gate.verify import Selection
from pawl_spec.invariants import INVARIANTS

GIT_SECONDS: Final = 60
"""How long one call of git may take."""

JUDGES: Final = ("spec/", "src/pawl_gate/", "corpus/", "pyproject.toml", "requirements/")
"""In Pawl's own checkout: what judges, and the packages that are used. A change of it touches every invariant."""

NOT_TOUCHED: Final = "its code was not changed"


class GitError(Exception):
    """What git says cannot be had here; one line says why."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code that names invariants."""

    folder: Path
    """Where it lies."""
    judges: tuple[str, ...] = ()
    """Files, and folders ended by a slash, of which every change touches all: from the repository's folder."""


def root_of(at: Path) -> Path:
    """The folder of the repository around `at`. Raises: GitError."""
    return Path(_git(at, "rev-parse", "--show-toplevel").rstrip("\n")).resolve()


def select(since: str, root: Path, code: Code | None) -> Selection:
    """What to judge after the changes since a revision, in the work tree as it is. Raises: GitError.

    Where branches parted, what counts is what changed on this side. `code` is None where nothing is known of it: then
    every change touches all.
    """
    commit = _git(root, "rev-parse", "--verify", "--end-of-options", f"{since}^{{commit}}").strip()
    base = _base(root, commit)
    changed = tuple(_changed(root, base))
    every = frozenset(entry.id for entry in INVARIANTS if entry.predicate is not None)
    judged, why = _touched(changed, root, base, code, every)
    return Selection(
        since, base, changed, judged, dict.fromkeys(sorted(every - judged), NOT_TOUCHED), why
    )  # fmt: skip


def _touched(
    changed: Collection[str], root: Path, base: str, code: Code | None, every: frozenset[str]
) -> tuple[frozenset[str], str]:
    """The ids that a change touches, and why these."""
    if not changed:
        return frozenset(), "nothing was changed"
    if code is None:
        return every, "all invariants are judged, as nothing says which code is whose (--code)"
    for name in changed:
        if any(name == one or (one.endswith("/") and name.startswith(one)) for one in code.judges):
            return every, f"all invariants are judged, as {name} is part of what judges"
    folder = code.folder.relative_to(root).as_posix()
    inside = [name for name in changed if folder == "." or name.startswith(f"{folder}/")]
    if not inside:
        return frozenset(), f"none of it is code in {folder}"
    imported_by = _importers(code.folder)
    touched: set[str] = set()
    for name in inside:
        ids = set(named.names_in(_before(root, base, name)))
        for path in [root / name, *_all_importers(root / name, imported_by)]:
            ids |= named.names_in(named.read(path)) if path.is_file() else set()
        if not ids & every:
            return every, f"all invariants are judged, as {name} leads to none by name"
        touched |= ids & every
    return frozenset(touched), f"judged is what the changed code in {folder}, and what imports it, names"


# -- imports ----------------------------------------------------------------------------------------------------------


def _importers(folder: Path) -> Mapping[Path, set[Path]]:
    """By Python file of a package: the files of the same package that import it."""
    modules = {_module(path, folder): path for path in named.files(folder) if path.suffix == ".py"}
    found: dict[Path, set[Path]] = {}
    for module, path in modules.items():
        for used in _imports(module, path, modules):
            found.setdefault(modules[used], set()).add(path)
    return found


def _module(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules that one imports, of those that are known."""
    try:
        tree = ast.parse(named.read(path))
    except (SyntaxError, ValueError):
        return
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from pawl import errors` is about pawl/errors.py, and not about pawl/__init__.py.
                whole = f"{source}.{alias.name}"
                yield from (name for name in [whole if whole in modules else source] if name in modules)


def _all_importers(path: Path, imported_by: Mapping[Path, set[Path]]) -> Iterable[Path]:
    found: set[Path] = set()
    todo = [path]
    while todo:
        for one in imported_by.get(todo.pop(), set()) - found:
            found.add(one)
            todo.append(one)
    return sorted(found)


# -- git --------------------------------------------------------------------------------------------------------------


def _base(root: Path, commit: str) -> str:
    """Where this branch and that commit parted; the commit itself where that is not known here."""
    try:
        return _git(root, "merge-base", commit, "HEAD").split("\n")[0]
    except GitError:
        return commit


def _changed(root: Path, base: str) -> Iterator[str]:
    """Every file that is there in another form, not there any more, or new, in a fixed order."""
    tracked = _git(root, "diff", "--no-ext-diff", "--no-renames", "--name-only", "-z", base, "--")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    yield from sorted({name for name in (tracked + new).split("\0") if name})


def _before(root: Path, base: str, name: str) -> str:
    """The text of a file as it was; empty where it was not."""
    try:
        return _git(root, "cat-file", "blob", f"{base}:{name}")
    except GitError:
        return ""


def _git(at: Path, *arguments: str) -> str:
    """What git says. Raises: GitError."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; what the user says stands behind --end-of-options
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=at,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("there is no git here") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {GIT_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise GitError(said or f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout.decode("utf-8", "replace")
