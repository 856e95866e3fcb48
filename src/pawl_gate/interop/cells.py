"""One cell of the matrix: a scenario in a world of two implementations, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from pawl import ProtocolError, SafetyNumber
from pawl_gate.chart import Layout, layout
from pawl_gate.interop.situations import SKIPPED, Situation
from pawl_gate.runner import Run
from pawl_gate.targets.base import (
    Fingerprint,
    HarnessBroken,
    Misbehaved,
    Refused,
    Target,
    TargetCrashed,
    TargetHung,
)
from pawl_gate.targets.mixed import MixedTarget
from pawl_gate.visible import one_line
from pawl_spec.history import Event, Hello, History, Outcome
from pawl_spec.judge import judge
from pawl_spec.registry import Violation
from pawl_spec.trace import PARTIES, Kind, Trace

ROWS: Final = 40
"""Rows of a transcript; of a longer one the first are shown, and those that lead to its end."""

MAX_WORDS: Final = 300
"""Characters of what is said of a cell: parts of it are an implementation's own words."""

CODE_BYTES: Final = 74
"""Of a safety number's code. Source: its layout, in `pawl.fingerprint`."""


class Verdict(Enum):
    """What is said of a cell."""

    PASS = "pass"  # noqa: S105 (no password)
    """Understood, and the specification found nothing."""
    UNDERSTOOD = "understood"
    """Every message was read as it was meant and whatever else the scenario demands came about, and on the way the
    specification found something."""
    FAIL = "fail"
    """Not understood: a message was not read or not as it was meant, something was refused or not refused that should
    have been, safety numbers differ, or an implementation crashed or hung."""
    UNSUPPORTED = "unsupported"
    """Declared: one of the two lacks a capability that the scenario needs."""
    BROKEN = "broken"
    """A driver did not keep to the contract: nothing is said of the implementation."""


FINDINGS: Final = (Verdict.FAIL, Verdict.UNDERSTOOD)
"""What a list may hold as known, the worse one first; of better ones nothing has to be said."""


TALK: Final = "TALK"
"""What is broken where no invariant is: an operation of an honest conversation was not carried out."""

FINGERPRINTS: Final = "FINGERPRINT"
"""What is broken where safety numbers differ."""

ENDED: Final = "ENDED"
"""What is broken where an implementation crashed or hung."""

TALKING: Final = frozenset({Kind.SEND, Kind.DELIVER, Kind.ESTABLISH})
"""What two sides do to talk at the end; what else is done there only looks at them."""


Gap = tuple[tuple[str, tuple[str, ...]], ...]
"""Who lacks what; empty: nothing is lacking."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One implementation as Alice, one as Bob, one scenario."""

    first: str
    second: str
    scenario: str
    verdict: Verdict
    lacks: Gap = ()
    """Of an unsupported one: who lacks what."""
    broken: tuple[str, ...] = ()
    """Of a failed one, and of one with findings: ids of invariants, or what is broken where none is."""
    why: str = ""
    """Of one that did not pass, in a line."""
    step: int | None = None
    """The step where it was not understood, or else where something was found first."""
    checked: int = 0
    """How often an invariant was checked on it."""
    read: int = 0
    """Messages that were read."""
    fingerprint: str | None = None
    """The 60 digits that both showed."""
    scanned: bool = False
    """Each side's code was that of the other."""
    seconds: float = 0.0
    trace: Trace | None = None
    transcript: Layout | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it."""
        return self.first, self.second, self.scenario


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a history, and where a person looks first."""

    verdict: Verdict
    broken: tuple[str, ...]
    why: str
    violation: Violation | None = None


def gap(first: Hello, second: Hello, situation: Situation, *, names: tuple[str, str]) -> Gap:
    """What the two lack for a scenario; `names` are what they are called."""
    sides = dict(zip(names, (first, second), strict=True))
    lacks = [(name, tuple(missing)) for name, hello in sides.items() if (missing := situation.lacks(hello))]
    layouts = {name: hello.group_layout for name, hello in sides.items()}
    if not lacks and "groups" in situation.scenario.needs and len(set(layouts.values())) > 1:
        lacks = [(name, (f"group layout {_other(value)}",)) for name, value in layouts.items()]
    return tuple(lacks)


def _other(layout: str) -> str:
    return "current" if layout == "earlier" else "earlier"


def unsupported(first: str, second: str, situation: Situation, lacks: Gap) -> Cell:
    """The cell of a scenario for which somebody lacks something."""
    why = "; ".join(f"{name} does not declare {', '.join(missing)}" for name, missing in lacks)
    return Cell(first, second, situation.name, Verdict.UNSUPPORTED, lacks=lacks, why=why)


def judge_cell(
    first: Target, second: Target, situation: Situation, *, names: tuple[str, str], seed: int = 0, most: int = SKIPPED
) -> Cell:
    """Run a scenario with `first` as Alice and Carol and `second` as Bob. `names` are what the two are called."""
    if lacks := gap(first.hello, second.hello, situation, names=names):
        return unsupported(*names, situation, lacks)
    started = time.monotonic()
    target = MixedTarget([first, second, first], names=situation.names)
    trace = situation.trace(target.hello.limits, most)
    trace = Trace(trace.ops, seed=seed, strict=trace.strict)
    try:
        history, prints = _converse(target, trace, situation)
    except HarnessBroken as error:
        return Cell(*names, situation.name, Verdict.BROKEN, why=one_line(str(error), MAX_WORDS), trace=trace)
    broken, checked = judge(history)
    fault = _fault(history, prints, [(each.invariant.id, each.violation) for each in broken])
    violation = None if fault is None else fault.violation
    return Cell(
        *names,
        situation.name,
        Verdict.PASS if fault is None else fault.verdict,
        broken=() if fault is None else fault.broken,
        why="" if fault is None else one_line(_where(violation, names) + fault.why, MAX_WORDS),
        step=None if violation is None else violation.event.step,
        checked=sum(checked.values()),
        read=sum(_plaintext(event) is not None for event in history.events),
        fingerprint=prints.digits,
        scanned=prints.scanned,
        seconds=time.monotonic() - started,
        trace=trace,
        transcript=layout(history, broken=violation, rows=ROWS),
    )


def _where(violation: Violation | None, names: tuple[str, str]) -> str:
    """At which step, and whose it was."""
    if violation is None:
        return ""
    actor = violation.event.actor
    whose = "" if actor is None else f", {PARTIES[actor]} ({names[actor % 2]})"
    return f"step {violation.event.step}{whose}: "


@dataclass(frozen=True, slots=True)
class Prints:
    """What came of comparing safety numbers."""

    digits: str | None = None
    scanned: bool = False
    fault: Fault | None = None


def _converse(target: MixedTarget, trace: Trace, situation: Situation) -> tuple[History, Prints]:
    run = Run(target, seed=trace.seed, strict=trace.strict, names=situation.names, sizes=situation.sizes)
    prints = Prints()
    try:
        for operation in trace.ops:
            run.step(operation)
        if situation.compares(target.hello):
            prints = _compare(run)
    except BaseException:
        run.finish(closing=False)
        raise
    return run.finish(closing=prints.fault is None), prints


def _compare(run: Run) -> Prints:
    try:
        ours, theirs = run.fingerprints(0, 1)
    except (TargetCrashed, TargetHung, Misbehaved) as died:
        return Prints(fault=Fault(Verdict.FAIL, (ENDED,), f"it ended while safety numbers were compared: {died}"))
    except Refused as refused:
        return Prints(fault=Fault(Verdict.FAIL, (FINGERPRINTS,), f"a safety number was refused: {refused}"))
    if ours.displayable != theirs.displayable:
        why = f"the safety numbers differ: {ours.displayable} and {theirs.displayable}"
        return Prints(fault=Fault(Verdict.FAIL, (FINGERPRINTS,), why))
    if ours.scannable is None or theirs.scannable is None:
        return Prints(ours.displayable)
    if (wrong := _scan(ours, theirs)) is not None:
        return Prints(fault=Fault(Verdict.FAIL, (FINGERPRINTS,), f"the codes do not belong together: {wrong}"))
    return Prints(ours.displayable, scanned=True)


def _scan(ours: Fingerprint, theirs: Fingerprint) -> str | None:
    """What is wrong with the other side's code; None: it is that of the same two identities."""
    code = ours.scannable or b""
    if len(code) != CODE_BYTES:
        return f"one has {len(code)} bytes, not {CODE_BYTES}"
    try:
        SafetyNumber(version=code[1], local=code[6:38], remote=code[42:]).verify(theirs.scannable or b"")
    except ProtocolError as error:
        return str(error)
    return None


# -- what is wrong ----------------------------------------------------------------------------------------------------


def _fault(history: History, prints: Prints, broken: Sequence[tuple[str, Violation]]) -> Fault | None:
    """What is wrong. Where the two did not understand each other, that comes first, whatever else was found."""
    for event in history.events:
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            how = "hung" if event.outcome is Outcome.HUNG else "ended"
            return Fault(
                Verdict.FAIL, (ENDED,), f"an implementation {how}: {event.text}", Violation(event, f"it {how}")
            )
    ids = tuple(dict.fromkeys(id_ for id_, _ in broken))
    said = {violation.event.step: (id_, violation) for id_, violation in reversed(broken)}
    if (stuck := next(_not_understood(history), None)) is not None:
        # Where an invariant says why, its words are the better ones.
        if stuck.event.step not in said:
            return Fault(Verdict.FAIL, (TALK, *ids), stuck.what, stuck)
        id_, violation = said[stuck.event.step]
        return Fault(Verdict.FAIL, ids, f"{id_}: {violation.what}", violation)
    if prints.fault is not None:
        return replace(prints.fault, broken=(*prints.fault.broken, *ids))
    if not said:
        return None
    id_, violation = said[min(said)]
    return Fault(Verdict.UNDERSTOOD, ids, f"{id_}: {violation.what}", violation)


def _not_understood(history: History) -> Iterator[Violation]:
    """Where an honest conversation is not understood; the specification alone does not ask for all of it to happen.

    At its end the network delivers what it still holds, and both sides talk once more: that is part of it.
    """
    handed: set[tuple[int | None, str, int]] = set()
    for event in history.events:
        if history.closing is not None and event.step >= history.closing and event.op.kind not in TALKING:
            continue
        handle, plaintext = _handed(event), _plaintext(event)
        again = handle is not None and (event.actor, *handle) in handed
        if again:
            if event.outcome is not Outcome.REFUSED:
                yield Violation(event, f"what {_name(event)} had read was not refused when it came again")
            continue
        if event.outcome is not Outcome.DONE:
            how = "nothing was done" if event.outcome is Outcome.SKIPPED else f"refused: {event.code} {event.text}"
            yield Violation(event, f"{event.op.kind.word} of an honest conversation was not carried out; {how}")
        if handle is not None:
            handed.add((event.actor, *handle))
            if event.outcome is Outcome.DONE and plaintext != handle[1]:
                yield Violation(event, f"{_name(event)} read another text than was sent")


def _handed(event: Event) -> tuple[str, int] | None:
    """What message was handed over: its kind, and its handle."""
    word = event.op.kind.word
    if word in ("deliver", "replay") and event.message is not None:
        return "m", event.message
    if word == "group-deliver" and event.group is not None and event.group.message is not None:
        return "g", event.group.message
    return None


def _plaintext(event: Event) -> int | None:
    """The handle of what was read."""
    return event.plaintext if event.group is None else event.group.plaintext


def _name(event: Event) -> str:
    return "a party" if event.actor is None else PARTIES[event.actor]
