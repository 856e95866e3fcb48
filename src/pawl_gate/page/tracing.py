"""The page of `pawl trace`: from the threat model's lines to threats, to invariants, to lines of code, to evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pawl_gate import explain
from pawl_gate.explain import Explanation, Place
from pawl_gate.page import KINDS, WORDS
from pawl_gate.page.environment import environment
from pawl_gate.report_text import FAMILIES, family
from pawl_gate.traceability import summary
from pawl_gate.traceability.answers import Answer
from pawl_gate.traceability.chain import ANSWERED, EDGE, IN_PART, OPEN, PENDING, STATES, Chain
from pawl_gate.traceability.evidence import Evidence, Said
from pawl_gate.traceability.inputs import Entry, Input
from pawl_gate.traceability.orphans import TO_COME, Orphan
from pawl_spec.judge import Verdict
from pawl_spec.registry import Invariant
from pawl_spec.threat_model import Line

AROUND: Final = 5
"""Lines of code that are shown before and after a place that is in no function."""

EXAMPLES: Final = 3
"""Inputs that are named for each invariant: those that check the fewest others."""

STATE_KINDS: Final = {ANSWERED: "good", IN_PART: "warn", EDGE: "good", PENDING: "none", OPEN: "bad"}
"""The colours of a line's state. Its words are always there too."""

HEADINGS: Final = {
    "in scope": "What is in scope",
    "out of scope": "What is out of scope",
    "asset": "Assets",
    "goal": "Goals",
    "trust boundary": "Trust boundaries",
    "validation": "How it is validated",
    "roadmap": "What is still to be done",
}


@dataclass(frozen=True, slots=True)
class Written:
    """One line of a file."""

    number: int
    text: str
    is_named: bool
    """Whether it is the line that names the invariant."""


@dataclass(frozen=True, slots=True)
class Code:
    """A place in the library, with the code around it."""

    place: Place
    lines: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """What the inputs of one entry point do for an invariant."""

    entry: Entry
    count: int
    examples: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One invariant with all that hangs on it."""

    entry: Invariant
    word: str
    kind: str
    known: Explanation
    code: tuple[Code, ...]
    lines: tuple[Line, ...]
    reached: tuple[Reached, ...]
    said: Said | None
    """What the last run said of it; None without a run."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the threat model, as it is shown."""

    line: Line
    answer: Answer | None
    state: str
    kind: str
    threats: tuple[str, ...]


def render(chain: Chain, orphans: Sequence[Orphan], differences: Sequence[str], last: Evidence | None) -> str:
    """The page, ended by a newline. The same arguments give the same text."""
    evidence = last if last is not None and last.is_of_pawl else None
    states, numbers = Counter(chain.state_of(line) for line in chain.lines), summary.numbers(chain)
    rows = [_row(chain, entry, evidence) for entry in chain.invariants]
    return environment().get_template("trace.html").render(
        chain=chain,
        orphans=orphans,
        differences=differences,
        numbers=numbers,
        covered=summary.covered(numbers),
        states=[(state, states[state], STATE_KINDS[state], words) for state, words in STATES.items() if states[state]],
        groups=[(heading, list(told)) for heading, told in _groups(chain)],
        threats=[
            (threat, words, [row for row in rows if row.entry.threat == threat], _behind(chain, threat))
            for threat, words in chain.threats.items()
        ],
        families=[(words, [row for row in rows if family(row.entry.id) == name]) for name, words in FAMILIES.items()],
        to_come=sorted(TO_COME),
        evidence=evidence,
        other=last.target if last is not None and evidence is None else "",
    )  # fmt: skip


def _groups(chain: Chain) -> Iterator[tuple[str, Iterator[Told]]]:
    """The lines under headings, in their order."""
    answers = {answer.anchor: answer for answer in chain.answers}

    def heading(line: Line) -> str:
        return f"Threat {line.threat}" if line.threat else HEADINGS[line.sort.value]

    for words, lines in groupby(chain.lines, heading):
        yield words, (_told(chain, line, answers.get(line.anchor)) for line in lines)


def _told(chain: Chain, line: Line, answer: Answer | None) -> Told:
    state = chain.state_of(line)
    return Told(line, answer, state, STATE_KINDS[state], chain.threats_of(line))


def _behind(chain: Chain, threat: str) -> list[Line]:
    """The lines that a threat stands behind."""
    return [line for line in chain.lines if threat in chain.threats_of(line)]


def _row(chain: Chain, entry: Invariant, evidence: Evidence | None) -> Row:
    said = evidence.said.get(entry.id) if evidence is not None else None
    verdict = said.verdict if said is not None else Verdict.PENDING if entry.predicate is None else None
    return Row(
        entry,
        word="judged" if verdict is None else WORDS[verdict],
        kind="none" if verdict is None else KINDS[verdict],
        known=explain.explain(entry),
        code=tuple(Code(place, tuple(_around(chain, place))) for place in chain.code.get(entry.id, ())),
        lines=chain.lines_of(entry.id),
        reached=tuple(_reached(each, entry.id) for each in chain.entries),
        said=said,
    )


def _around(chain: Chain, place: Place) -> Iterator[Written]:
    """The function around a place; for the docstring of a module and the like the lines next to it."""
    shown = explain.excerpt(place, chain.root)
    if shown is not None:
        first, lines = shown.line, shown.code.splitlines()
    else:
        whole = (chain.root / place.file).read_text("utf-8").splitlines()
        first = max(place.line - AROUND, 1)
        lines = whole[first - 1 : place.line + AROUND]
    for number, text in enumerate(lines, first):
        yield Written(number, text, number == place.line)


def _reached(entry: Entry, id_: str) -> Reached:
    inputs = sorted((one for one in entry.inputs if id_ in one.checks), key=lambda one: (len(one.checks), one.name))
    return Reached(entry, len(inputs), tuple(inputs[:EXAMPLES]))
