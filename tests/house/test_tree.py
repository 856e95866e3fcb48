"""What may be in the tree: no address of a package index, no path of one machine, no big file; locks with hashes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tools.examples import ROOT

MAX_FILE_BYTES = 1024 * 1024

# Put together here, so that this file does not hold what it looks for.
INDEX_HOSTS = [".".join(parts) for parts in [("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org")]]
INDEX_OPTIONS = re.compile(r"^\s*--(extra-index-url|index-url|find-links|trusted-host)|\bfile:" + "///", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:home|root|work|opt|Users|private|farm)/[\w.]")
DOWNLOAD = re.compile(r"https?://[^\s\"']+\.(?:whl|tgz|tar\.gz|deb)\b|\"resolved\":")


def tracked_files() -> list[Path]:
    """The files that git tracks, or all that a source archive holds."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        aside = {".venv", ".venv-lock", "node_modules", "__pycache__", "build", "dist"}
        paths = [path for path in ROOT.rglob("*") if not aside & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[str, str]]:
    """Name and text of every tracked text file."""
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            found.append((path.relative_to(ROOT).as_posix(), data.decode("utf-8", errors="replace")))
    return found


def addresses(text: str) -> list[str]:
    """Addresses of package indexes and of downloads in a text."""
    hosts = [host for host in INDEX_HOSTS if host in text]
    return hosts + [match.group() for pattern in (INDEX_OPTIONS, DOWNLOAD) for match in pattern.finditer(text)]


def test_no_address_of_an_index() -> None:
    """Issue: dependencies are locked "without any download address"."""
    assert {name: found for name, text in texts() if (found := addresses(text))} == {}


def test_no_path_of_one_machine() -> None:
    """Nothing depends on where a developer's files are."""
    assert {name: found for name, text in texts() if (found := MACHINE_PATH.findall(text))} == {}


@pytest.mark.parametrize(
    "planted",
    [
        f"x = 'https://{INDEX_HOSTS[0]}/simple'",
        "--index" + "-url somewhere",
        "file:" + "///srv/x",
        "https:" + "//h.example/a.whl",
    ],
)
def test_a_planted_address_is_caught(planted: str) -> None:
    """Control."""
    assert addresses(planted)


@pytest.mark.parametrize("planted", ["see /" + "home/me/x", "'/" + "work/main'", "=/" + "opt/pypi/"])
def test_a_planted_path_is_caught(planted: str) -> None:
    """Control."""
    assert MACHINE_PATH.search(planted)


KEPT_FOLDERS = ("src", "spec", "tests", "fuzz", "corpus", "drivers", "docs", "tools", "bench")
"""Where every file is part of the project, but for what `MADE` names."""

MADE = re.compile(
    r"(^|/)(node_modules|__pycache__|\.[a-z_]+_cache|\.hypothesis)/|^fuzz/(crash|timeout|oom)-[^/]*$|^drivers/[a-z-]+/(build|\.venv)/"
)
"""What tools leave there: packages, caches, the findings of a fuzzer that was started in fuzz/, built drivers and environments."""


def ignored(root: Path) -> list[str]:
    """Files in those folders that a pattern of git keeps out, whether they were added all the same or not."""

    def git(*arguments: str, given: str | None = None) -> str:
        command = ["git", *arguments, "-z"]
        return subprocess.run(command, cwd=root, input=given, capture_output=True, text=True, check=False).stdout

    folders = [folder for folder in KEPT_FOLDERS if (root / folder).is_dir()]
    tracked = git("check-ignore", "--no-index", "--stdin", given=git("ls-files", *folders))
    left_out = git("ls-files", "--others", "--ignored", "--exclude-standard", *folders)
    return sorted({name for name in (tracked + left_out).split("\0") if name and not MADE.search(name)})


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source archive has no git")
def test_no_file_of_the_project_is_ignored() -> None:
    """A pattern that was meant for the fuzzer's files once kept four scenarios out of the repository."""
    assert ignored(ROOT) == []


def test_an_ignored_file_is_caught(tmp_path: Path) -> None:
    """Control: that very pattern, with one scenario that was left out and one that was added all the same."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("crash-*\n__pycache__/\n", encoding="utf-8")
    for name in (
        "src/crash-in-send.json",
        "src/crash-added.json",
        "src/copies.json",
        "src/__pycache__/x",
        "fuzz/crash-1",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "add", "-f", "src/crash-added.json"], cwd=tmp_path, check=True)
    assert ignored(tmp_path) == ["src/crash-added.json", "src/crash-in-send.json"]


def test_files_are_small() -> None:
    """Every tracked file has less than 1 MiB: the history stays quick to clone."""
    assert [path.name for path in tracked_files() if path.stat().st_size >= MAX_FILE_BYTES] == []


LOCKS = sorted([*(ROOT / "requirements").glob("*.txt"), *(ROOT / "drivers").glob("**/[pr]*.txt")])
PINNED = re.compile(r"^[A-Za-z0-9._-]+==[^\s;]+( ; .+)?$")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_pin_with_hashes(lock: Path) -> None:
    """Every requirement of a lock is one release with the hashes of its files."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", "")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        assert PINNED.match(requirement.strip()), line
        assert hashes, line
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest.strip()) for digest in hashes), line


def test_locks_hold_every_dependency() -> None:
    """What pyproject.toml asks for is in the lock of the library, the extra [gate] in that of the developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=\[ ;]", requirement.lower())[0] for requirement in requirements}

    def locked(lock: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / lock).read_text(encoding="utf-8"), re.M))

    assert names(project["dependencies"]) <= locked("base.txt") <= locked("dev.txt")
    assert names(project["optional-dependencies"]["gate"]) <= locked("dev.txt")
    assert "atheris" in locked("fuzz.txt")


def test_node_locks_have_hashes() -> None:
    """The Node peers' packages are locked with the hashes of their files."""
    for lock in sorted(ROOT.glob("drivers/*/package-lock.json")):
        packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
        assert all("integrity" in package for name, package in packages.items() if name), lock


def test_licence() -> None:
    """The full text of the Apache licence, version 2.0, as pyproject.toml says."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"] == "Apache-2.0"


def test_ci_script_can_be_run() -> None:
    """`.ci/run` is a program."""
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_make_target_is_listed() -> None:
    """`make help` has a line for each target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = [set(names.split()) for names in re.findall(r"^\.PHONY: (.*)$", makefile, re.M)]
    assert set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.M)) == phony
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+) ", helped, re.M)) == phony
