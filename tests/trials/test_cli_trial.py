"""`pawl store trial`: the verdict first, exit codes, progress on stderr, and what is not installed."""

from __future__ import annotations

import json

import pytest

from pawl_gate import cli
from pawl_gate.trials import Broken, TrialReport, Unavailable, kill, server

Output = pytest.CaptureFixture[str]


def run(capsys: Output, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["store", "trial", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_trial_that_holds(capsys: Output) -> None:
    code, out, err = run(capsys, "kill", "--store", "sqlite", "--amount", "3", "--seed", "5")
    lines = out.splitlines()
    assert code == 0
    assert "invariants hold on trial: ATM-01" in lines[0]
    assert lines[1].startswith("kill on sqlite: holds, seed 5, ")
    assert "         3 kills" in lines
    assert err.startswith("kill on sqlite: kill 0 of 3\n")


def test_a_trial_that_breaks(capsys: Output) -> None:
    """A control in the store's place: exit code 1, and the first line names what broke."""
    code, out, _ = run(capsys, "--control", "skips-a-counter", "--amount", "3")
    assert code == 1
    assert out.splitlines()[0] == "CTR-02 does not hold on trial"
    assert out.splitlines()[1].startswith("kill on sqlite: broken, seed 0, ")
    assert "was skipped, and no lost call explains it" in out


def test_json(capsys: Output) -> None:
    code, out, _ = run(capsys, "hammer", "--store", "sqlite", "--amount", "2", "--json")
    document = json.loads(out)
    [report] = document["trials"]
    assert (code, document["exitCode"], document["notRun"]) == (0, 0, [])
    assert (report["name"], report["store"], report["broken"]) == ("hammer", "sqlite", [])
    assert report["checked"]["CTR-02"] > 0
    assert report["counted"]["rounds"] == 2


def test_without_a_name_all_are_run(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be run here makes the run incomplete; one that is broken makes it a violation all the same."""
    asked: list[tuple[str, int, int]] = []

    def fake(store: str, amount: int, seed: int, say: object, folder: object) -> TrialReport:
        asked.append((store, amount, seed))
        if store == "postgres":
            raise Unavailable("there is no server")
        return TrialReport("fake", store, seed, checked={"ATM-01": 2})

    from pawl_gate.cli import store as cli_store

    monkeypatch.setattr(cli_store, "MODULES", {"kill": "kill", "server": "server"})
    monkeypatch.setattr(kill, "run", fake)
    monkeypatch.setattr(server, "run", fake)
    code, out, _ = run(capsys, "--budget", "nightly")
    assert code == 4
    assert out.splitlines()[0] == "1 invariants hold on trial: ATM-01 (6 checks)"
    assert "not run: server on postgres: there is no server" in out
    assert ("sqlite", 1000, 0) in asked
    assert len(asked) == 5
    assert run(capsys, "kill", "--store", "json")[0] == 0

    def broken(store: str, amount: int, seed: int, say: object, folder: object) -> TrialReport:
        return TrialReport("fake", store, seed, checked={"ATM-01": 2}, broken=[Broken("ATM-01", "half of it")])

    monkeypatch.setattr(kill, "run", broken)
    code, out, _ = run(capsys)
    assert code == 1
    assert "  ATM-01 does not hold: half of it" in out


def test_nothing_judged_is_no_success(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill, "run", lambda store, amount, seed, say, folder: TrialReport("kill", store, seed))
    code, out, _ = run(capsys, "kill", "--store", "json")
    assert (code, out.splitlines()[0]) == (4, "nothing was judged")


def test_a_missing_server_is_said(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign refuses by name; nothing was run, which is no success."""
    monkeypatch.setattr("pawl_gate.trials.postgres_server.programs", lambda: None)
    code, out, _ = run(capsys, "server")
    assert code == 4
    assert "not run: server on postgres: PostgreSQL's server programs (initdb, pg_ctl) are not installed" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such"], "there is no campaign no-such; there are "),
        (["server", "--store", "sqlite"], "server is not for sqlite; it is for postgres"),
        (["--store", "memory-card"], "no campaign is for memory-card; there are "),
        (["--control", "no-such"], "there is no control no-such; there are committed-late"),
        (["hammer", "--control", "committed-late"], "the control committed-late is one of kill on sqlite"),
        (["kill", "--amount", "0"], "'0' is not a whole number from 1"),
        (["kill", "--amount", "1e3"], "'1e3' is not a whole number"),
        (["kill", "--seed", "-1"], "is not a whole number"),
        (["kill", "--budget", "smoke"], "invalid choice"),
    ],
)
def test_wrong_usage_is_2(capsys: Output, arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
