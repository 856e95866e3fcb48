"""The project's own gates, each with a control: provenance, builds, the bill of materials, workflows, known weaknesses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import audit, check_provenance, gate_tools, gates
from tools.examples import ROOT

WORKFLOWS = sorted(path for path in (ROOT / ".github" / "workflows").glob("*.yml") if not path.name.startswith("fuzz-"))
"""Those of fuzz-*.yml keep to the form that ClusterFuzzLite's documentation asks for; `make gates` looks at them too."""
REPOSITORY, REF = "acme/pawl", "refs/tags/v1.2.3"

# -- provenance -------------------------------------------------------------------------------------------------------


def statement(artifacts: list[Path]) -> dict[str, Any]:
    """What a build says of itself, as GitHub's attestations have it."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": path.name, "digest": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
            for path in artifacts
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "externalParameters": {
                    "workflow": {"repository": f"https://github.com/{REPOSITORY}", "ref": REF, "path": "release.yml"}
                }
            }
        },
    }


def bundle(folder: Path, *statements: object) -> Path:
    lines = []
    for one in statements:
        payload = base64.b64encode(json.dumps(one).encode()).decode()
        envelope = {"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": [{"sig": "AA=="}]}
        lines.append(
            json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope})
        )
    path = folder / "bundle.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "dist" / name for name in ("pawl.whl", "pawl.tar.gz")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(path.name.encode())
    return paths


def refused(made: Path, given: list[Path]) -> int:
    return check_provenance.main(
        ["--bundle", str(made), "--repository", REPOSITORY, "--ref", REF, *(str(path) for path in given)]
    )


def test_what_was_built_is_let_through(tmp_path: Path, artifacts: list[Path]) -> None:
    """One statement for all, or one for each."""
    assert refused(bundle(tmp_path, statement(artifacts)), artifacts) == 0
    assert refused(bundle(tmp_path, *(statement([path]) for path in artifacts)), artifacts) == 0


def changed_file(artifacts: list[Path], said: dict[str, Any]) -> None:
    artifacts[0].write_bytes(b"another")


def unnamed(artifacts: list[Path], said: dict[str, Any]) -> None:
    said["subject"].pop(0)


def missing(artifacts: list[Path], said: dict[str, Any]) -> None:
    artifacts.pop()


def elsewhere(artifacts: list[Path], said: dict[str, Any]) -> None:
    workflow(said)["repository"] = f"https://github.com/{REPOSITORY}-fork"


def another_tag(artifacts: list[Path], said: dict[str, Any]) -> None:
    workflow(said)["ref"] = "refs/heads/main"


def no_provenance(artifacts: list[Path], said: dict[str, Any]) -> None:
    said["predicateType"] = "https://spdx.dev/Document"


def no_source(artifacts: list[Path], said: dict[str, Any]) -> None:
    del said["predicate"]["buildDefinition"]


def no_digest(artifacts: list[Path], said: dict[str, Any]) -> None:
    del said["subject"][0]["digest"]["sha256"]


def empty(artifacts: list[Path], said: dict[str, Any]) -> None:
    said["subject"] = []


def two_digests(artifacts: list[Path], said: dict[str, Any]) -> None:
    said["subject"].append({**said["subject"][0], "digest": {"sha256": "0" * 64}})


def workflow(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = said["predicate"]["buildDefinition"]["externalParameters"]["workflow"]
    return found


@pytest.mark.parametrize(
    "change",
    [changed_file, unnamed, missing, elsewhere, another_tag, no_provenance, no_source, no_digest, empty, two_digests],
)
def test_what_was_not_built_so_is_refused(
    tmp_path: Path, artifacts: list[Path], change: Callable[[list[Path], dict[str, Any]], None]
) -> None:
    """Issue 9: "a gate script refuses an artifact whose provenance does not match"."""
    said = statement(artifacts)
    change(artifacts, said)
    assert refused(bundle(tmp_path, said), artifacts) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"dsseEnvelope": {}}', "[" * 5000, '{"dsseEnvelope": {"payloadType": "x"}}']
)
def test_a_bundle_that_is_none_is_refused(tmp_path: Path, artifacts: list[Path], text: str) -> None:
    """One line and exit code 1, never a traceback; a file that is not there is usage."""
    path = tmp_path / "bundle"
    path.write_text(text, encoding="utf-8")
    assert refused(path, artifacts) == 1
    assert refused(tmp_path / "nowhere", artifacts) == 2


def test_an_unsigned_envelope_is_refused(tmp_path: Path, artifacts: list[Path]) -> None:
    """Whether a signature holds is for others to say; that there is one is asked for."""
    path = bundle(tmp_path, statement(artifacts))
    path.write_text(path.read_text().replace('[{"sig": "AA=="}]', "[]"), encoding="utf-8")
    assert refused(path, artifacts) == 1


# -- builds and the bill of materials ---------------------------------------------------------------------------------


def test_builds_that_differ_are_named() -> None:
    """Controls: another digest, a file that one of them lacks, and nothing at all."""
    assert gates.compare({"a": "1"}, {"a": "1"}) == []
    assert gates.compare({"a": "1"}, {"a": "2"}) == ["two builds differ: a"]
    assert gates.compare({"a": "1", "b": "1"}, {"a": "1"}) == ["two builds differ: b"]
    assert gates.compare({}, {}) == ["the builds made nothing"]


def test_a_build_that_knows_where_it_was_made_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control, with real builds: a file that holds the folder's name makes both artifacts differ."""
    whole = gates.copied

    def copied(to: Path) -> None:
        whole(to)
        (to / "src" / "pawl" / "where.txt").write_text(str(to), encoding="utf-8")

    monkeypatch.setattr(gates, "copied", copied)
    differing = gates.reproducible(tmp_path)
    assert [line.endswith((".whl", ".tar.gz")) for line in differing] == [True, True]


LOCK = f"# made\na-b==1.0 \\\n    --hash=sha256:{'1' * 64} \\\n    --hash=sha256:{'2' * 64}\nc==2 ; python_version < '4' \\\n    --hash=sha256:{'3' * 64}\n"


def bill(**components: tuple[str, str]) -> dict[str, object]:
    return {
        "components": [
            {
                "name": name.replace("_", "-"),
                "version": version,
                "externalReferences": [{"hashes": [{"alg": "SHA-256", "content": digit * 64} for digit in digits]}],
            }
            for name, (version, digits) in components.items()
        ]
    }


def test_a_bill_that_is_not_the_lock_is_named() -> None:
    """Controls: a package that is missing, one too many, another version, another hash, an empty lock."""
    assert gates.wrong_bill(bill(a_b=("1.0", "12"), c=("2", "3")), LOCK) == []
    assert len(gates.wrong_bill(bill(a_b=("1.0", "12")), LOCK)) == 1
    assert len(gates.wrong_bill(bill(a_b=("1.0", "12"), c=("2", "3"), d=("1", "4")), LOCK)) == 1
    assert len(gates.wrong_bill(bill(a_b=("1.1", "12"), c=("2", "3")), LOCK)) == 2
    assert len(gates.wrong_bill(bill(a_b=("1.0", "1"), c=("2", "3")), LOCK)) == 1
    assert gates.wrong_bill({}, "") == ["there is nothing in the lock"]


# -- known vulnerabilities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "says", "exit_code", "words"),
    [
        (0, "No known vulnerabilities found", 0, "no vulnerability is known"),
        (1, "Found 1 known vulnerability in 1 package\nx 1.0 PYSEC-1", 1, "PYSEC-1"),
        (1, "requests.exceptions.ConnectionError: no route to host", 4, "nothing is known"),
        (1, "", 4, "nothing is known"),
        (-9, "killed", 4, "nothing is known"),
    ],
)
def test_a_check_that_could_not_be_made_is_no_success(
    capsys: pytest.CaptureFixture[str], code: int, says: str, exit_code: int, words: str
) -> None:
    """Issue 9: "pip-audit-like checks degrade with a clear message offline"."""
    done = subprocess.CompletedProcess(["pip-audit"], code, "", says)
    assert audit.audit(lambda *arguments: done) == exit_code
    assert words in capsys.readouterr().err


# -- workflows --------------------------------------------------------------------------------------------------------

USES = re.compile(r"uses: (\S+)")
PINNED = re.compile(r"^[\w./-]+@[0-9a-f]{40}$")


def test_actions_are_pinned_by_their_commits() -> None:
    """Never by a branch or a tag, which can be moved; and each in one version everywhere."""
    used = [
        name for path in (*WORKFLOWS, ROOT / "action.yml") for name in USES.findall(path.read_text(encoding="utf-8"))
    ]
    assert used
    assert [name for name in used if name != "./" and not PINNED.match(name)] == []
    versions: dict[str, set[str]] = {}
    for name in used:
        action, _, version = name.partition("@")
        versions.setdefault(action, set()).add(version)
    assert {action: found for action, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_ask_for_no_more_than_they_need(path: Path) -> None:
    """No permission by default, a limit in time for each job, and no credential that stays in a checkout."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert found["permissions"] == {}
    for name, job in found["jobs"].items():
        assert "timeout-minutes" in job, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_no_input_becomes_part_of_a_script() -> None:
    """What a caller of the action says reaches the shell as a variable: `${{` is in no script."""
    for path in (*WORKFLOWS, ROOT / "action.yml"):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
        assert [step["run"] for job in jobs for step in job["steps"] if "${{" in step.get("run", "")] == []


@pytest.mark.skipif(not gate_tools.STAMP.is_file(), reason="the tools of `make gates` are not set up here")
def test_a_careless_workflow_is_found(tmp_path: Path) -> None:
    """Control: a title of a pull request as part of a script, and an action by its branch."""
    path = tmp_path / ".github" / "workflows" / "bad.yml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - uses: actions/checkout@main\n      - run: echo '${{ github.event.pull_request.title }}'\n",
        encoding="utf-8",
    )
    (said,) = gates.habits([path])
    assert "template-injection" in said
    assert "dangerous-triggers" in said


# -- one run in CI ----------------------------------------------------------------------------------------------------


def gate(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PAWL_", "GITHUB_"))}
    return subprocess.run(
        [ROOT / "ci" / "gate"],
        cwd=folder,
        env={**kept, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_of_the_action_runs(tmp_path: Path) -> None:
    """A driver whose path has a blank: checked, judged, reports and outputs where they belong, the exit code handed on."""
    driver = tmp_path / "my driver.py"
    driver.write_text((ROOT / "src/pawl_gate/templates/driver.py").read_text(encoding="utf-8"), encoding="utf-8")
    summary, output = tmp_path / "step.md", tmp_path / "output"
    done = gate(
        tmp_path,
        PAWL_DRIVER=f"{sys.executable} 'my driver.py'",
        PAWL_SECONDS="3",
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_OUTPUT=str(output),
    )
    # Three seconds judge something, and not all.
    assert done.returncode == 4, done.stderr
    for name in ("junit.xml", "pawl.sarif", "summary.md", "index.html"):
        assert (tmp_path / "build" / "pawl" / name).is_file()
    assert summary.read_text(encoding="utf-8") == (tmp_path / "build/pawl/summary.md").read_text(encoding="utf-8")
    assert output.read_text(encoding="utf-8") == "exit-code=4\nsarif=build/pawl/pawl.sarif\nreports=build/pawl\n"


def test_the_script_of_the_action_refuses(tmp_path: Path) -> None:
    """Neither or both of driver and target: 2. A driver that does not keep to the contract: 3, and nothing is judged."""
    assert gate(tmp_path).returncode == 2
    assert gate(tmp_path, PAWL_DRIVER="./x", PAWL_TARGET="pawl").returncode == 2
    done = gate(tmp_path, PAWL_DRIVER="true; touch carried-out")
    assert done.returncode == 3
    assert not (tmp_path / "carried-out").exists()
    assert not (tmp_path / "build").exists()
