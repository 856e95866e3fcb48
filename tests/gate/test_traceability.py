"""`pawl trace`: the tree's own chain is whole, and every kind of missing or dangling link is seen, each planted once.

The ids in it are examples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pawl_gate import cli, explain
from pawl_gate.engines.corpus import SESSION_TRACE, files
from pawl_gate.explain import Place
from pawl_gate.traceability import chain as chains
from pawl_gate.traceability import evidence, inputs, orphans, snapshot, summary
from pawl_gate.traceability.answers import PAGE
from pawl_gate.traceability.chain import Chain, Mention
from pawl_gate.traceability.inputs import Input
from pawl_gate.traceability.orphans import LINES_FILE, RULES
from pawl_spec.judge import Verdict
from pawl_spec.threat_model import Edge, Line, Sort
from tests.gate.chains import INPUT, ROOT, quick

Output = pytest.CaptureFixture[str]
Change = Callable[[Chain], Chain]


# -- the tree itself --------------------------------------------------------------------------------------------------


def test_the_tree_has_no_orphan() -> None:
    """Issue: "the command fails on an orphan in either direction". What the corpus reaches: `make lint`."""
    assert orphans.orphans(quick()) == []


def test_every_line_is_covered_or_a_declared_gap() -> None:
    """Issue: "100 % of the threat model's lines covered"; what is not yet judged counts as a gap, never as covered."""
    found = quick()
    counts = summary.numbers(found)
    assert counts["covered"] + counts["in_part"] + counts["gaps"] == counts["lines"] == len(found.lines)
    for line in found.lines:
        if found.state_of(line) == chains.PENDING:
            assert not any(found.is_judged(id_) for id_ in line.invariants)


def test_residual_risks_have_a_test_of_their_edge() -> None:
    """Issue: "a residual risk is covered by saying where it is documented and what test shows its edge"."""
    for line in quick().lines:
        if line.sort is Sort.RESIDUAL:
            assert line.edge is not None
            assert line.edge.documented
            assert line.edge.tests or quick().state_of(line) == chains.PENDING


# -- orphans, each planted --------------------------------------------------------------------------------------------


def line(name: str, /, **parts: Any) -> Change:
    """The line with other parts."""

    def changed(of: Chain) -> Chain:
        lines = tuple(replace(one, **parts) if one.anchor == name else one for one in of.lines)
        return replace(of, lines=lines)

    return changed


def answer(name: str, /, **parts: Any) -> Change:
    """The page's answer to a line with other parts."""

    def changed(of: Chain) -> Chain:
        said = tuple(replace(one, **parts) if one.anchor == name else one for one in of.answers)
        return replace(of, answers=said)

    return changed


def edge(documented: str = "README.md#status", *tests: str) -> Change:
    """A residual risk with another edge."""
    return line("replay-residual", edge=Edge(documented, tests))


def code(id_: str, *places: Place) -> Change:
    """Other places in the library that name an invariant."""
    return lambda of: replace(of, code={**of.code, id_: places})


def entry(**parts: Any) -> Change:
    """The entry point with other parts."""
    return lambda of: replace(of, entries=(replace(session_traces(of), **parts),))


def session_traces(of: Chain) -> inputs.Entry:
    """The entry point for session traces."""
    return next(each for each in of.entries if each.file == "fuzz/session_trace.py")


def mention(file: str, id_: str) -> Change:
    """A text that names an invariant, not in brackets."""
    return lambda of: replace(of, mentions=(*of.mentions, Mention(file, 7, id_, in_brackets=False)))


def without_family(of: Chain) -> Chain:
    """No invariant against T-WORKER any more."""
    return replace(of, invariants=tuple(one for one in of.invariants if one.threat != "T-WORKER"))


def unjudged(change: Change = lambda of: of, id_: str = "WRK-01") -> Change:
    """An invariant is not yet judged."""
    return lambda of: change(
        replace(
            of,
            invariants=tuple(replace(one, predicate=None) if one.id == id_ else one for one in of.invariants),
            controls=tuple(one for one in of.controls if one.breaks != id_),
            code={**of.code, id_: ()},
        )
    )


def control(breaks: str) -> Change:
    """One more control."""
    return lambda of: replace(of, controls=(*of.controls, replace(of.controls[0], name="planted", breaks=breaks)))


def unanswered(of: Chain) -> Chain:
    """CTR-08 is named by no line, nor by the page's answer."""
    ids = ("ATM-01", "CTR-02")
    return answer("desync-threat", invariants=ids, links=("atm-01", "ctr-02"))(
        line("desync-threat", invariants=ids)(of)
    )


TYPO = "CTR" + "-42"
"""An id that there is not. In one piece it would be an orphan of this very file."""
EXAMPLE = Place("src/pawl/device.py", 9, "Device.nothing", "A sentence")

PLANTED: dict[str, tuple[Change, str, str]] = {
    # name: (what is planted, the file that is named, what is said)
    "line, unknown invariant": (
        line("goal-healing", invariants=("SEC-99",)),
        LINES_FILE,
        "there is no invariant SEC-99",
    ),
    "line, unknown threat": (line("replay-threat", threat="T-NOTHING"), LINES_FILE, "there is no threat T-NOTHING"),
    "line, no invariant": (line("goal-healing", invariants=()), LINES_FILE, "no invariant answers it"),
    "residual risk, no edge": (line("replay-residual", edge=None), LINES_FILE, "it has no edge"),
    "edge, no test": (edge(), LINES_FILE, "no test shows its edge"),
    "edge, no such test": (
        edge("README.md#status", "tests/test_device.py::test_x"),
        LINES_FILE,
        "there is no test tests",
    ),
    "edge, no such file": (
        edge("README.md", "tests/test_x.py::test_x"),
        LINES_FILE,
        "there is no test tests/test_x.py",
    ),
    "edge, no such page": (edge("docs/nothing.md"), LINES_FILE, "docs/nothing.md, which is not there"),
    "edge, no such heading": (edge("README.md#nothing"), LINES_FILE, "README.md has no heading or anchor 'nothing'"),
    "page, no answer": (lambda of: replace(of, answers=of.answers[1:]), PAGE, "scope-establishment: no answer"),
    "page, other invariants": (answer("goal-healing", invariants=("SEC-01",)), PAGE, "the page says SEC-01"),
    "page, wrong link": (answer("goal-healing", links=("sec-01",)), PAGE, "an id links to another one"),
    "page, no such line": (answer("goal-healing", anchor="goal-x"), PAGE, "goal-x: the threat model has no such line"),
    "page, twice": (lambda of: replace(of, answers=(*of.answers, of.answers[0])), PAGE, "answered twice"),
    "threat, no invariant": (without_family, "spec/pawl_spec/registry.py", "T-WORKER: no invariant answers it"),
    "threat, no line": (
        lambda of: replace(of, threats={**of.threats, "T-NEW": "A new one."}),
        "spec/pawl_spec/registry.py",
        "T-NEW: no line of the threat model leads to it",
    ),
    "invariant, no line": (unanswered, LINES_FILE, "CTR-08: no line of the threat model is answered by it"),
    "invariant, no code": (code("CTR-08"), "spec/pawl_spec/invariants/counters.py", "end the sentence with (CTR-08)"),
    "invariant, no test": (
        lambda of: replace(of, tests={**of.tests, "CTR-08": ()}),
        "tests/spec/test_invariants_counters.py",
        "CTR-08: no test names it",
    ),
    "invariant, no control": (
        lambda of: replace(of, controls=tuple(one for one in of.controls if one.breaks != "IDC-03")),
        "src/pawl_gate/controls",
        "IDC-03: no control breaks it",
    ),
    "code, unknown invariant": (code("CTR-99", EXAMPLE), "src/pawl/device.py:9", "there is no invariant CTR-99"),
    "code, not yet judged": (unjudged(code("WRK-01", EXAMPLE)), "src/pawl/device.py:9", "WRK-01 is not yet judged"),
    "code, outside the convention": (mention("src/pawl/device.py", "CTR-01"), "src/pawl/device.py:7", "write (CTR-01)"),
    "code, never run": (code("CTR-01", EXAMPLE), "src/pawl/device.py:9", "no input of a corpus runs Device.nothing"),
    "control, unknown invariant": (control("CTR-99"), "src/pawl_gate/controls", "CTR-99 is none that there is"),
    "control, not yet judged": (unjudged(control("WRK-01")), "src/pawl_gate/controls", "WRK-01 is not yet judged"),
    "page or test, unknown invariant": (mention("docs/x.md", TYPO), "docs/x.md:7", f"there is no invariant {TYPO}"),
    "fuzzer, no boundary": (entry(boundaries=()), "fuzz/session_trace.py:2", "it names no trust boundary"),
    "fuzzer, no such boundary": (entry(boundaries=("goal-healing",)), "fuzz/session_trace.py:2", "'goal-healing'"),
    "fuzzer, not listed": (entry(listed=False), "fuzz/session_trace.py:2", "it is not in the registry"),
    "fuzzer, no inputs": (entry(inputs=()), "corpus/session_trace:1", "has no input that checks an invariant"),
    "input that checks nothing": (
        entry(inputs=(Input(INPUT, frozenset()),)),
        f"corpus/session_trace/{INPUT}:1",
        "no inv",
    ),
    "corpus, no fuzzer": (
        lambda of: replace(of, entries=()),
        "fuzz/session_trace.py:1",
        "corpus/session_trace has no entry point",
    ),
    "boundary, no fuzzer": (entry(boundaries=("boundary-api",)), LINES_FILE, "boundary-message: no entry point"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_orphan_is_seen(name: str) -> None:
    """Each kind of orphan, in either direction: said once, with file and line where it is to be mended."""
    plant, file, what = PLANTED[name]
    found = [one for one in orphans.orphans(plant(quick())) if what in one.what]
    assert len(found) == 1
    where, _, number = found[0].where.rpartition(":")
    assert found[0].where.startswith(file)
    assert int(number) >= 1
    # A place that is mended is there.
    if where.startswith((LINES_FILE, PAGE, "spec/", "tests/")):
        assert int(number) <= len((ROOT / where).read_text("utf-8").splitlines())


def test_a_control_to_come_is_a_gap_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared gap is no orphan; once there is a control, the declaration is one: a list must shrink."""
    plant, _, _ = PLANTED["invariant, no control"]
    monkeypatch.setattr(orphans, "TO_COME", orphans.TO_COME | {"IDC-03"})
    assert orphans.orphans(plant(quick())) == []
    (found,) = orphans.orphans(quick())
    assert (found.what, found.where.rpartition(":")[0]) == (
        "IDC-03 has a control: take it off TO_COME",
        "src/pawl_gate/traceability/orphans.py",
    )


def test_every_rule_is_seen_red() -> None:
    """A rule that nothing here breaks may never speak up."""
    silent = {rule.__name__ for rule in RULES}
    for plant, _, _ in PLANTED.values():
        planted = plant(quick())
        silent -= {rule.__name__ for rule in RULES if next(rule(planted), None) is not None}
    assert silent == set()


@pytest.mark.parametrize("text", ["UTF-16", "CTR-99"])
def test_what_is_no_id_is_none(text: str) -> None:
    """Words that look like ids, and the number that tests use for an invariant that there is not."""
    assert orphans.orphans(mention("docs/x.md", text)(quick())) == []


def test_the_place_of_a_line_is_the_line() -> None:
    """The number that is given is that of the line's own entry."""
    (found,) = [one for one in orphans.orphans(edge("docs/nothing.md")(quick())) if "is not there" in one.what]
    number = int(found.where.rpartition(":")[2])
    assert '"replay-residual"' in (ROOT / LINES_FILE).read_text("utf-8").splitlines()[number - 1]


# -- states of lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (Line("x", Sort.GOAL, "x", ("CTR-01", "CTR-02")), chains.ANSWERED),
        (Line("x", Sort.GOAL, "x", ("CTR-01", "WRK-01")), chains.IN_PART),
        (Line("x", Sort.GOAL, "x", ("WRK-01",)), chains.PENDING),
        (Line("x", Sort.RESIDUAL, "x", ("WRK-01",), edge=Edge("README.md")), chains.PENDING),
        (Line("x", Sort.RESIDUAL, "x", edge=Edge("README.md", ("tests/x.py::test_x",))), chains.EDGE),
        (Line("x", Sort.RESIDUAL, "x", edge=Edge("README.md")), chains.OPEN),
        (Line("x", Sort.GOAL, "x"), chains.OPEN),
    ],
)
def test_states_of_lines(made: Line, state: str) -> None:
    """What nothing judges yet is a gap, whatever else is written down."""
    assert unjudged()(quick()).state_of(made) == state


# -- inputs -----------------------------------------------------------------------------------------------------------

ENTRY = '''\
#!/usr/bin/env python3
"""An entry point (boundary-message,
boundary-api).
"""
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with an entry point, and a corpus of one talk and one nothing."""
    for folder in ("fuzz", "corpus/session_trace"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "fuzz" / "session_trace.py").write_text(ENTRY, "utf-8")
    (tmp_path / "fuzz" / "harness.py").touch()
    shutil.copy(files(SESSION_TRACE)[0], tmp_path / "corpus" / "session_trace" / "talk")
    (tmp_path / "corpus" / "session_trace" / "nothing").write_bytes(b"\1\0\0\0\0\0\0")
    return tmp_path


def test_inputs_are_run(tree: Path) -> None:
    """What an input checks, and which functions of the library it runs, is found by running it."""
    (found,), executed = inputs.entries(tree, progress=lambda text: None)
    assert (found.file, found.line, found.boundaries) == (
        "fuzz/session_trace.py",
        2,
        ("boundary-message", "boundary-api"),
    )
    nothing, talk = found.inputs
    assert (nothing.name, nothing.checks) == ("nothing", frozenset())
    assert talk.name == "talk"
    assert "CTR-01" in talk.checks
    assert ("src/pawl/device.py", "Device.encrypt") in executed
    assert not any(file.startswith("src/pawl_gate") for file, _ in executed)


def test_an_entry_point_that_is_not_listed_is_not_run(tree: Path) -> None:
    """Nothing says how its inputs are to be read."""
    (tree / "fuzz" / "session_trace.py").rename(tree / "fuzz" / "planted.py")
    (found,), executed = inputs.entries(tree, progress=lambda text: None)
    assert (found.listed, found.inputs, executed) == (False, (), frozenset())


# -- the snapshot -----------------------------------------------------------------------------------------------------


def test_the_snapshot_names_no_lines_of_code() -> None:
    """It must not change with every edit: places that moved give the same snapshot."""

    def moved(places: tuple[Place, ...]) -> tuple[Place, ...]:
        return tuple(replace(place, line=place.line + 10) for place in places)

    found = quick()
    shifted = replace(
        found,
        code={id_: moved(places) for id_, places in found.code.items()},
        tests={id_: moved(places) for id_, places in found.tests.items()},
    )
    assert snapshot.dumps(snapshot.document(shifted)) == snapshot.dumps(snapshot.document(found))


def test_a_lost_link_is_a_difference() -> None:
    """A link that is gone, and one that is new, each in one line; a new input changes the digest."""
    before = snapshot.document(quick())
    first, *others = quick().code["CTR-03"]
    lost = snapshot.document(code("CTR-03", first, EXAMPLE)(quick()))
    gone = {f"invariants CTR-03 code: gone: {place.file}::{place.where}" for place in others}
    *said, new = snapshot.differences(before, lost)
    assert set(said) == gone
    assert "invariants CTR-03 code: gone: src/pawl/session/prekeys.py::find_prekey" in gone
    assert new == "invariants CTR-03 code: new: src/pawl/device.py::Device.nothing"
    other = snapshot.document(entry(inputs=(replace(session_traces(quick()).inputs[0], name="f" * 32),))(quick()))
    assert any(said.startswith("fuzz fuzz/session_trace.py digest: ") for said in snapshot.differences(before, other))
    assert list(snapshot.differences(before, before)) == []


@pytest.mark.parametrize(
    ("committed", "now", "said"),
    [
        ({"a": 1}, {"a": 2}, ["a: 1 is now 2"]),
        ({"a": 1}, {"b": {}}, ["a: 1 is now nothing", "b: nothing is now an entry of 0 parts"]),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, ["a: in another order"]),
        ({"a": ["x", "x"]}, {"a": ["x"]}, ["a: in another order"]),
    ],
)
def test_differences_in_words(committed: dict[str, Any], now: dict[str, Any], said: list[str]) -> None:
    """Nothing that differs is passed over."""
    assert list(snapshot.differences(committed, now)) == said


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own with a snapshot of the quick chain, which is what the command finds there."""
    kept = tmp_path / "traceability.json"
    kept.write_text(snapshot.dumps(snapshot.document(quick())), "utf-8")
    monkeypatch.setattr(snapshot, "FILE", str(kept))
    monkeypatch.setattr(evidence, "FILE", tmp_path / "index.json")
    monkeypatch.setattr(chains, "gather", lambda root, progress: quick())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*argv: str) -> int:
    """The exit code of `pawl ARGV`."""
    try:
        return cli.main(argv)
    except SystemExit as left:
        return int(left.code or 0)


def find(monkeypatch: pytest.MonkeyPatch, found: Chain) -> None:
    """Let the command find that."""
    monkeypatch.setattr(chains, "gather", lambda root, progress: found)


def test_a_whole_chain_is_0(here: Path, capsys: Output) -> None:
    """The first line says what holds; the page is named last."""
    assert run("trace") == 0
    out = capsys.readouterr().out
    assert out.startswith("every link is there: of 54 lines of the threat model ")
    assert out.endswith("\npage: build/report/trace.html\n")
    assert (here / "build/report/trace.html").is_file()


def test_an_orphan_is_1(here: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, and the orphan with its place; the snapshot differs too."""
    find(monkeypatch, code("CTR-08")(quick()))
    assert run("trace", "--no-page") == 1
    out = capsys.readouterr().out
    assert out.startswith("links are missing: 1 orphan and 1 difference from the snapshot\n")
    assert "invariants CTR-08 code: gone: src/pawl/device.py::Device.establish" in out
    assert not (here / "build").exists()


def test_an_orphan_is_1_even_when_the_snapshot_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing accepts differences, never orphans."""
    find(monkeypatch, code("CTR-08")(quick()))
    assert run("trace", "--no-page", "--write") == 1
    find(monkeypatch, quick())
    assert run("trace", "--no-page") == 1
    assert run("trace", "--no-page", "--write") == 0
    assert run("trace", "--no-page") == 0
    assert Path(snapshot.FILE).read_text("utf-8") == snapshot.dumps(snapshot.document(quick()))


def test_json(here: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document: exit code, numbers, orphans, differences, and the chain itself."""
    assert run("trace", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["exit"], document["orphans"], document["differences"]) == (0, [], [])
    assert document["chain"] == snapshot.document(quick())
    assert document["page"] == "build/report/trace.html"
    find(monkeypatch, code("CTR-08")(quick()))
    assert run("trace", "--json", "--no-page") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["exit"] == 1
    assert document["orphans"][0]["where"].startswith("spec/pawl_spec/invariants/counters.py:")


def only_line(capsys: Output) -> str:
    """The one line of an error; stdout is empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


def test_bad_files_are_2(here: Path, capsys: Output) -> None:
    """No snapshot, a broken one, evidence that is none: one line each, before any work is done."""
    assert run("trace", "--evidence", "nothing.json") == 2
    assert "cannot read nothing.json" in only_line(capsys)
    (here / "x.json").write_text('{"format": "pawl-report", "version": 1}')
    assert run("trace", "--evidence", "x.json") == 2
    assert "x.json is no report of pawl verify: a part of it is missing" in only_line(capsys)
    unknown = json.dumps(report(invariants=[{"id": "CTR-01", "verdict": "so-so", "checked": 1, "by_engine": {}}]))
    for text in ("{", "[]", '{"format": "pawl-report", "version": 2}', unknown):
        (here / "x.json").write_text(text)
        assert run("trace", "--evidence", "x.json") == 2
        assert "x.json is no report of pawl verify" in only_line(capsys)
    for text in ("{", "[]", '{"format": "pawl-traceability", "version": 2}'):
        Path(snapshot.FILE).write_text(text)
        assert run("trace") == 2
        assert "is no snapshot" in only_line(capsys)
    Path(snapshot.FILE).unlink()
    assert run("trace") == 2
    assert "write it with --write" in only_line(capsys)


def test_outside_a_checkout_is_2(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests, fuzzers and documents are no part of the package."""
    monkeypatch.setattr(explain, "checkout", lambda: None)
    assert run("trace") == 2
    assert "come with a checkout" in only_line(capsys)


def test_what_cannot_be_written_is_said(here: Path, capsys: Output) -> None:
    """A page that cannot be written hides no verdict; a snapshot that cannot be written is exit code 3."""
    (here / "file").touch()
    assert run("trace", "--page", "file/x.html") == 0
    out, err = capsys.readouterr()
    assert "cannot write file/x.html" in err
    assert "page:" not in out
    Path(snapshot.FILE).unlink()
    Path(snapshot.FILE).mkdir()
    assert run("trace", "--write", "--no-page") == 3
    assert "cannot write" in capsys.readouterr().err


# -- the last evidence ------------------------------------------------------------------------------------------------


def report(**parts: Any) -> dict[str, Any]:
    """What `pawl verify` leaves, in short."""
    engines = {"scenarios": {"traces": 5, "checked": 20}, "walk": {"traces": 1, "checked": 2}}
    return {
        "format": "pawl-report",
        "version": 1,
        "target": {"asked": "pawl"},
        "outcome": "holds",
        "budget": "smoke",
        "seed": 0,
        "made": "2026-11-01T12:00:00+00:00",
        "code": evidence.code_digest(),
        "invariants": [{"id": "CTR-01", "verdict": "holds", "checked": 22, "by_engine": engines}],
    } | parts


def test_evidence_is_read(tmp_path: Path) -> None:
    """Checked counts for each engine, and whether the code is still the same."""
    path = tmp_path / "index.json"
    assert evidence.read(path) is None
    path.write_text(json.dumps(report()))
    found = evidence.read(path)
    assert found is not None
    assert (found.is_of_pawl, found.is_current) == (True, True)
    assert found.said["CTR-01"] == evidence.Said(Verdict.HOLDS, 22, {"scenarios": (5, 20), "walk": (1, 2)})
    path.write_text(json.dumps(report(code="0" * 64, target={"asked": "node-libsignal"})))
    found = evidence.read(path)
    assert found is not None
    assert (found.is_of_pawl, found.is_current) == (False, False)


def test_the_digest_is_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed byte, a changed name: another digest."""
    package = tmp_path / "pawl"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.setattr(evidence.pawl, "__file__", str(package / "__init__.py"))
    digests = [evidence.code_digest(), evidence.code_digest()]
    (package / "__init__.py").write_text("x = 2\n")
    digests.append(evidence.code_digest())
    (package / "more.py").touch()
    digests.append(evidence.code_digest())
    assert len(set(digests)) == 3
    assert digests[0] == digests[1]
