"""Putting the files of vectors together: every case recorded, every crafted test confirmed, in a fixed order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.vectors.cases import Case, cases
from pawl_gate.vectors.check import Verdict, check
from pawl_gate.vectors.crafted import Crafted, crafted
from pawl_gate.vectors.flags import notes
from pawl_gate.vectors.producers import Producer
from pawl_gate.vectors.record import Disagreement, Recorded, record
from pawl_spec.trace import PARTIES
from pawl_spec.vector_operations import GROUPS, SESSIONS, SUITES, Suite
from pawl_spec.vectors import File, Group, Step, Vector, dumps

PAWL: Final = "pawl"

HEADERS: Final[Mapping[str, str]] = {
    "group_changed": "Changed messages of groups; each time the message itself comes after.",
    "group_crafted": "Group messages with a valid signature over unusual bytes, and what no trace does.",
    "group_distributions": "Chains that malicious members give, and those that are no chains.",
    "group_limits": "Iterations, kept keys, chains and senders at their limits.",
    "group_messages": "Honest groups: in order, out of order, late members, rotation.",
    "group_replays": "Messages and distributions of groups that come again, elsewhere, or too late.",
    "group_transcripts": "Group traffic as other implementations wrote it.",
    "session_bundles": "Prekey bundles: honest and forged.",
    "session_changed_first": "Changes of the message that builds a session.",
    "session_changed_later": "Changes of a message without outer layer.",
    "session_changed_repeated": "Changes of a prekey message of a session that is there.",
    "session_compatibility": "Fallbacks for certain peers, turned on.",
    "session_conversations": "Honest conversations.",
    "session_crafted": "Messages with a valid MAC over unusual bytes, and bytes at the edge of the format.",
    "session_explored": "Shortest ways to the farthest states of the exhaustively explored scopes of the model.",
    "session_findings": "Shortest traces on which an existing implementation does otherwise.",
    "session_identities": "Identities that change, and those that were never seen.",
    "session_junk": "Bytes that nobody sent.",
    "session_limits": "Counters, kept keys, chains, sessions and ages at their limits.",
    "session_order": "Messages out of order.",
    "session_prekeys": "Signed prekeys that are rotated, one-time prekeys that are missing.",
    "session_replays": "Messages that come again, or to somebody else.",
    "session_sessions": "Several sessions with one peer, and none.",
    "session_transcripts": "Conversations as another implementation wrote them.",
}
"""By file: its first line."""

SUBJECTS: Final[Mapping[Suite, str]] = {
    SESSIONS: "Sessions of the Signal protocol at message version 3: X3DH and the double ratchet.",
    GROUPS: "Groups of the Signal protocol: sender keys, in the current and in the earlier layout.",
}
"""By suite: the second line of its files."""

HEADER: Final = (
    "The format, the flags and the profiles are described in docs/reference/vectors.md of Pawl.",
    "Written by `pawl vectors generate`. Do not edit.",
)
"""The rest."""


def generate(
    producers: Sequence[Producer],
    *,
    chosen: Callable[[str], bool] = lambda file: True,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, str]:
    """The files, by name. `chosen` says which, without ending. Raises: Disagreement."""
    found: dict[str, dict[str, list[Vector]]] = defaultdict(lambda: defaultdict(list))
    seen: set[str] = set()
    for file, profile, test in _tests(chosen, progress):
        if test.id in seen:
            raise Disagreement(f"{test.id}: the id of two tests")
        seen.add(test.id)
        group = Group(profile, (test,))
        confirmed = [PAWL, *(each.title for each in producers if each.confirms(group, test))]
        found[file][profile].append(replace(test, confirmed_by=tuple(confirmed)))
    return {f"{file}.json": dumps(_file(file, groups)) for file, groups in sorted(found.items())}


def _file(name: str, groups: Mapping[str, list[Vector]]) -> File:
    suite = next(each for each in SUITES if name.startswith(each.prefix))
    ordered = tuple(
        Group(profile, tuple(sorted(groups[profile], key=lambda test: test.id)))
        for profile in suite.profiles
        if profile in groups
    )
    flags = {flag for group in ordered for test in group.tests for flag in test.flags}
    return File((HEADERS[name], SUBJECTS[suite], *HEADER), notes(flags), ordered, suite)


def _tests(chosen: Callable[[str], bool], progress: Callable[[str], None]) -> Iterable[tuple[str, str, Vector]]:
    """File, profile and test."""
    last = ""
    for case in cases(chosen):
        if case.file != last:
            last = case.file
            progress(last)
        yield case.file, case.profile, test_of(case)
    pawl = InProcessTarget()
    for each in crafted():
        if chosen(each.file):
            yield each.file, each.profile, _confirmed(pawl, each)


def test_of(case: Case) -> Vector:
    """The test that a case becomes. Raises: Disagreement."""
    try:
        recorded = _record(case)
    except Disagreement as error:
        raise Disagreement(f"{case.id}: {error}") from None
    steps = recorded.steps if case.only is None else tuple(_of(case.only, recorded.steps))
    return Vector(
        id=case.id,
        comment=case.comment,
        flags=tuple(sorted(case.flags)),
        invariants=recorded.invariants,
        source=case.source,
        steps=steps,
        assumes=dict(sorted({**recorded.assumes, **case.assumes}.items())),
    )


def _record(case: Case) -> Recorded:
    strict = (1 << len(PARTIES)) - 1 if case.profile == "strict-identity" else 0
    # A case's keys are its own, whatever cases come and go beside it.
    seed = int.from_bytes(hashlib.sha256(case.id.encode()).digest()[:2], "big")
    return record(case.ops, seed=seed, strict=strict, recover=case.recover)


def _of(actor: str, steps: Sequence[Step]) -> Iterable[Step]:
    """The steps of one actor; the others are only created."""
    return (step for step in steps if step.actor in (None, actor) or step.operation == "create")


def _confirmed(pawl: InProcessTarget, each: Crafted) -> Vector:
    """A test that was written by hand, if Pawl does as it says. Raises: Disagreement."""
    went = check(pawl, Group(each.profile, (each.test,)), each.test)
    if went.verdict is not Verdict.PASSED:
        raise Disagreement(f"{each.test.id}: {went.why}")
    return each.test
