"""The project's own gates that run anywhere: `make gates`.

Workflows keep to their schemas and to safe habits; wheel and sdist come out the same, byte for byte, of two builds; the
bill of materials names what the lock names, with the same hashes. What a release is made of is left in build/release.
Exit codes: 0 all well, 1 something is not, 3 a tool cannot be set up.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools import gate_tools
from tools.examples import ROOT

RELEASE = ROOT / "build" / "release"
BILL = "sbom.cdx.json"
WORKFLOWS = ROOT / ".github" / "workflows"
SCHEMAS = {
    "vendor.github-workflows": sorted(WORKFLOWS.glob("*.yml")),
    "vendor.github-actions": [ROOT / "action.yml"],
    "vendor.gitlab-ci": [ROOT / "ci" / "gitlab.yml"],
}
SOURCES = ("src", "spec", "pyproject.toml", "README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md")
"""What a build reads."""

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.M)


def main() -> int:
    """Run all of them; one that fails does not keep the others from running."""
    try:
        gate_tools.set_up()
    except gate_tools.NotSetUp as error:
        say(f"the tools cannot be installed, so nothing was checked: {error}")
        return 3
    shutil.rmtree(RELEASE, ignore_errors=True)
    (RELEASE / "dist").mkdir(parents=True)
    wrong = [*workflows(), *reproducible(RELEASE / "dist"), *bill_of_materials(RELEASE / BILL)]
    for line in wrong:
        say(line)
    if not wrong:
        say(f"workflows, builds and bill of materials are well; build/release: {', '.join(contents())}")
    return 1 if wrong else 0


def contents() -> list[str]:
    """What a release is made of."""
    return sorted(path.name for path in RELEASE.rglob("*") if path.is_file())


# -- workflows --------------------------------------------------------------------------------------------------------


def workflows() -> list[str]:
    """What is wrong with the workflow files, the action and the snippet."""
    say("workflows: schemas, and zizmor, offline")
    wrong = []
    for schema, files in SCHEMAS.items():
        done = gate_tools.run("check-jsonschema", "--builtin-schema", schema, *map(str, files))
        if done.returncode != 0:
            wrong.append(f"{schema}: {done.stdout}{done.stderr}".rstrip())
    wrong += [f"zizmor: {text}" for text in habits([WORKFLOWS, ROOT / "action.yml"])]
    return wrong


def habits(paths: Iterable[Path]) -> list[str]:
    """What zizmor finds in workflows and actions."""
    config = str(ROOT / ".github" / "zizmor.yml")
    done = gate_tools.run(
        "zizmor", "--offline", "--no-progress", "--color", "never", "--config", config, *map(str, paths)
    )
    return [] if done.returncode == 0 else [f"{done.stdout}{done.stderr}".rstrip()]


# -- builds -----------------------------------------------------------------------------------------------------------


def reproducible(into: Path) -> list[str]:
    """Build twice, in other folders, with other times and permissions; what differs. Leaves one build in `into`."""
    say("two builds of wheel and sdist")
    built = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, mask) in enumerate((("a", 0o022), ("a-longer-name", 0o077))):
            copy = Path(folder) / name / "checkout"
            copied(copy)
            for path in copy.rglob("*"):
                os.utime(path, (1_000_000_000 + number * 77_777_777,) * 2)
            out = Path(folder) / name / "dist"
            built.append(digests(build(copy, out, mask)))
            if number == 0:
                for path in sorted(out.iterdir()):
                    shutil.copyfile(path, into / path.name)
    return compare(*built)


def copied(to: Path) -> None:
    """What a build reads, in another place."""
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / name)


def build(checkout: Path, out: Path, mask: int) -> list[Path]:
    """Wheel and sdist of a checkout."""
    stamp = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": stamp or "1577836800"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, umask=mask, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"gates: the build ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return sorted(out.iterdir())


def digests(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def compare(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Files that two builds do not have in common, or that differ."""
    names = sorted(first.keys() | second.keys())
    wrong = [f"two builds differ: {name}" for name in names if first.get(name) != second.get(name)]
    return wrong if names else ["the builds made nothing"]


# -- the bill of materials --------------------------------------------------------------------------------------------


def bill_of_materials(path: Path) -> list[str]:
    """Write the bill of the library's locked packages, in CycloneDX; what is wrong with it."""
    say("bill of materials, CycloneDX 1.6")
    lock = ROOT / "requirements" / "base.txt"
    done = gate_tools.run(
        *("cyclonedx-py", "requirements", str(lock), "--pyproject", str(ROOT / "pyproject.toml")),
        *("--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible", "--validate", "-o", str(path)),
    )
    if done.returncode != 0:
        return [f"cyclonedx-py: {done.stderr.strip()[-500:]}"]
    return wrong_bill(json.loads(path.read_text(encoding="utf-8")), lock.read_text(encoding="utf-8"))


def wrong_bill(bill: dict[str, object], lock: str) -> list[str]:
    """Where a bill of materials and a lock are not at one."""
    components = bill.get("components")
    named: dict[str, set[str]] = {}
    for one in components if isinstance(components, list) else []:
        hashes = {
            each["content"]
            for reference in one.get("externalReferences", [])
            for each in reference.get("hashes", [])
            if each["alg"] == "SHA-256"
        }
        named[f"{one['name']}=={one['version']}"] = hashes
    locked = {}
    for entry in re.split(r"\n(?=[A-Za-z])", lock):
        if match := PIN.match(entry):
            locked[f"{match[1]}=={match[2]}"] = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    wrong = [f"the bill of materials lacks {name}" for name in sorted(locked.keys() - named.keys())]
    wrong += [f"the bill of materials has {name}, the lock has not" for name in sorted(named.keys() - locked.keys())]
    both = sorted(locked.keys() & named.keys())
    wrong += [f"the bill of materials has other hashes of {name}" for name in both if named[name] != locked[name]]
    return wrong if locked else ["there is nothing in the lock"]


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"gates: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
