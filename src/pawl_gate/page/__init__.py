"""The report as a page: one HTML file that holds everything, asks the network for nothing and has no script.

Jinja2 fills the template: there escaping is what happens unless one asks otherwise, and whatever a target says of
itself is hostile text. If a piece of it were left unescaped all the same, the page's Content-Security-Policy lets
nothing run and nothing load; of styles only its own.
"""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from pawl_gate import report_text
from pawl_gate.chart import Layout, layout
from pawl_gate.expect import CLASSES, Expected
from pawl_gate.explain import Explanation, explain
from pawl_gate.page.environment import environment, times, traces
from pawl_gate.page.picture import Picture, picture
from pawl_gate.reach import SHAPES
from pawl_gate.report_text import CHART_ROWS, FAMILIES, HANGS, QUIETER, family, replay_command, trial_command
from pawl_gate.targets.driver import REFUSALS
from pawl_gate.verify import BUDGETS, Exit, Found, Report, unsupported
from pawl_spec.history import Limits
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Verdict
from pawl_spec.registry import Invariant
from pawl_spec.trace import Kind

PACKAGES: Final = ("pawl-signal", "cryptography", "PyNaCl", "protobuf", "hypothesis", "Jinja2")
"""Packages whose version can change what a run finds or how it is shown."""

NO_CODES: Final = {"unknown", "protocol-error"}
"""Codes that name no reason."""

WORDS: Final = {
    Verdict.VIOLATED: "violated",
    Verdict.HOLDS: "holds",
    Verdict.NOT_REACHED: "not reached",
    Verdict.UNSUPPORTED: "unsupported",
    Verdict.PENDING: "not yet judged",
    Verdict.LEFT_OUT: "left out",
}
KINDS: Final = {
    Verdict.VIOLATED: "bad",
    Verdict.HOLDS: "good",
    Verdict.NOT_REACHED: "warn",
    Verdict.UNSUPPORTED: "none",
    Verdict.PENDING: "none",
    Verdict.LEFT_OUT: "none",
}
"""The colours of a verdict. Its word is always there too: nothing is said by colour alone."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How often one engine checked an invariant."""

    engine: str
    traces: int
    checked: int


@dataclass(frozen=True, slots=True)
class Row:
    """One invariant, with what the run says of it."""

    entry: Invariant
    word: str
    kind: str
    known: Explanation
    checked: int
    traces: int
    evidence: list[Evidence]
    why: str
    """Why nothing is said of it; empty where something is."""
    found: bool
    reason: str | None
    """Why the violation was expected."""

    @property
    def in_short(self) -> str:
        """The evidence, in a few words."""
        return f"checked {times(self.checked)} on {traces(self.traces)}" if self.checked else self.why


@dataclass(frozen=True, slots=True)
class Family:
    """The invariants of one family."""

    name: str
    words: str
    counts: list[tuple[str, int, str]]
    """Word, how many, colours."""
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Finding:
    """One counterexample."""

    entry: Invariant
    found: Found
    path: Path | None
    command: str
    reason: str | None
    needs: str | None
    """What an attacker needs, in words, where the list says so."""
    scripts: tuple[str, ...]
    """What shows it without the gate."""
    layout: Layout
    picture: Picture


def render(
    report: Report,
    saved: Mapping[str, Path],
    expected: Expected | None,
    code: Exit,
    *,
    made: datetime,
    expect: Path | None = None,
) -> str:
    """The page of a run, ended by a newline. The same arguments give the same text; `made` is its only time.

    `saved` is where the findings were saved, `expect` where the expected ones were read.
    """
    return environment().get_template("page.html").render(
        made=made,
        report=report,
        hello=report.hello,
        exit=code,
        state=_state(report, expected, code),
        verdict=report_text.verdict_line(report, expected, code),
        todo=list(_todo(report, saved, expected, code, expect)),
        findings=list(_findings(report, saved, expected)),
        expected=expected,
        comparison=None if expected is None else expected.compare(report.violated),
        families=list(_families(report, expected)),
        totals=_counts(Counter(report.tally.verdicts().values())),
        never_done=[kind.word for kind in Kind if kind is not Kind.NOP and not report.reached.operations[kind.word]],
        never_refused=sorted(REFUSALS - NO_CODES - set(report.reached.refusals)),
        limits=[(one.name.replace("_", " "), getattr(report.hello.limits, one.name)) for one in fields(Limits)],
        run_command=_run_command(report, expect),
        trial_command=trial_command,
        versions=dict(_versions()),
        shapes=SHAPES,
    )  # fmt: skip


# -- the verdict ------------------------------------------------------------------------------------------------------


def _state(report: Report, expected: Expected | None, code: Exit) -> tuple[str, str]:
    """The verdict in a word or two, and its colours."""
    if code is Exit.VIOLATED:
        return ("not as expected" if expected else "does not hold"), "bad"
    if code is Exit.INCOMPLETE:
        return "incomplete", "warn"
    return ("as expected", "warn") if report.found else ("holds", "good")


def _todo(
    report: Report, saved: Mapping[str, Path], expected: Expected | None, code: Exit, expect: Path | None
) -> Iterator[tuple[str, str]]:
    """What to do next: words, and the command that does it."""
    for line in report_text.differences(report, expected):
        yield _sentence(line.strip()), ""
    for trial in report.on_trial:
        if trial.broken:
            yield (
                f"{trial.broken[0].invariant} was found broken on trial. Run that again:",
                trial_command(trial, report),
            )
    if code is Exit.VIOLATED and (new := report_text.to_reproduce(report, saved, expected)):
        several = f"Of the {len(new)} findings, begin with the one of the shortest trace. " if len(new) > 1 else ""
        yield f"{several}Reproduce {new[0]}:", replay_command(saved[new[0]], report)
    for gap in report.gaps:
        yield f"Incomplete: {gap}.", ""
    if report.cut:
        yield f"{_sentence(HANGS if report.hung else QUIETER)}.", ""
    if code is Exit.HOLDS and (larger := _larger(report, expect)):
        known = (
            "Every violation is a known one; the reasons are below." if report.found else "Nothing needs to be mended."
        )
        yield f"{known} A larger budget searches more:", larger


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _larger(report: Report, expect: Path | None) -> str:
    """The command of the next larger budget; empty for the largest."""
    names = list(BUDGETS)
    at = names.index(report.budget.name) + 1 if report.budget.name in names else len(names)
    return _run_command(report, expect, budget=names[at]) if at < len(names) else ""


def _run_command(report: Report, expect: Path | None, budget: str = "") -> str:
    option = "--driver" if report.is_driver else "--target"
    target = shlex.quote(report.target)
    expected = f" --expect {shlex.quote(str(expect))}" if expect else ""
    return f"pawl verify {option} {target} --budget {budget or report.budget.name} --seed {report.seed}{expected}"


# -- findings and invariants ------------------------------------------------------------------------------------------


def _findings(report: Report, saved: Mapping[str, Path], expected: Expected | None) -> Iterator[Finding]:
    for id_, found in report.by_size():
        path = saved.get(id_)
        drawn = layout(found.history, broken=found.broken.violation, rows=CHART_ROWS)
        yield Finding(
            found.broken.invariant,
            found,
            path,
            command=replay_command(path, report) if path else "",
            reason=expected.findings.get(id_) if expected else None,
            needs=CLASSES[expected.classes[id_]] if expected and id_ in expected.classes else None,
            scripts=expected.scripts.get(id_, ()) if expected else (),
            layout=drawn,
            picture=picture(drawn),
        )


def _families(report: Report, expected: Expected | None) -> Iterator[Family]:
    left_out = report.selection.left_out if report.selection else {}
    why = {**left_out, **{entry.id: f"the target {_declared(words)}" for entry, words in unsupported(report.hello)}}
    verdicts = report.tally.verdicts()
    for name, words in FAMILIES.items():
        members = [entry for entry in INVARIANTS if family(entry.id) == name]
        if members:
            counts = Counter(verdicts[entry.id] for entry in members)
            rows = [_row(report, entry, verdicts[entry.id], why.get(entry.id, ""), expected) for entry in members]
            yield Family(name, words, _counts(counts), rows)


def _declared(words: str) -> str:
    return f"cannot be judged on it: {words}"


def _counts(counts: Counter[Verdict]) -> list[tuple[str, int, str]]:
    words = WORDS | {Verdict.HOLDS: "hold"}
    return [(word, counts[verdict], KINDS[verdict]) for verdict, word in words.items() if counts[verdict]]


def _row(report: Report, entry: Invariant, verdict: Verdict, lacks: str, expected: Expected | None) -> Row:
    evidence = [
        Evidence(engine.name, engine.checked_on[entry.id], engine.checked[entry.id])
        for engine in report.engines
        if engine.checked[entry.id]
    ]
    never = "no trace came to a place where it could be checked" if verdict is Verdict.NOT_REACHED else ""
    return Row(
        entry,
        WORDS[verdict],
        KINDS[verdict],
        explain(entry),
        checked=report.tally.checked[entry.id],
        traces=sum(one.traces for one in evidence),
        evidence=evidence,
        why=entry.pending or lacks or never,
        found=entry.id in report.found,
        reason=expected.findings.get(entry.id) if expected else None,
    )


# -- the run ----------------------------------------------------------------------------------------------------------


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
    yield platform.python_implementation(), platform.python_version()
    yield "system", f"{platform.system()} {platform.machine()}"
