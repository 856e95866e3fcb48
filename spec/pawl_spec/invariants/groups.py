"""Groups: each sender's chain goes one way, is signed, and reads nothing for whoever was not given it.

Threat        T-REPLAY, T-FORGERY, T-KEYS: members and outsiders replay, forge, move and rewind; who left reads on.
Source        The sender keys of existing clients; Double Ratchet, sections 2.6 and 7.2; XEdDSA; threat model, "group
              sender key flows".
Not covered   A member that gives another's chain as its own: what it relays is taken for its own words. How a group
              agrees on its members; healing, which a chain without a Diffie-Hellman step has not until it is rotated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pawl_spec.history import Event, Grouped, GroupHeader, Limits, Observe, Outcome
from pawl_spec.invariants.common import as_expected, who
from pawl_spec.model import Expect
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import PARTIES, Kind

FLOWS = 'threat model, "group sender key flows"'
RECEIVED = frozenset({Kind.GROUP_DELIVER, Kind.GROUP_TAMPER, Kind.GROUP_REDIRECT})
"""Operations that hand a group message to a receiver."""
CHANGING = RECEIVED | {
    Kind.GROUP_CREATE,
    Kind.GROUP_JOIN,
    Kind.GROUP_SEND,
    Kind.GROUP_ROTATE,
    Kind.GROUP_FORGET,
    Kind.GROUP_MEMBERS,
    Kind.GROUP_SHARE,
    Kind.GROUP_CAME,
}
"""Operations of a member."""
SENDING = frozenset({Kind.GROUP_SEND, Kind.GROUP_SHARE})
"""Operations that send a group message."""


def _in_groups(story: Story) -> Iterator[tuple[Event, Grouped]]:
    return ((event, event.group) for event in story.events if event.group is not None)


# -- GRP-01 -----------------------------------------------------------------------------------------------------------


@invariant(
    id="GRP-01",
    threat="T-REPLAY",
    source="Double Ratchet, sections 2.1 and 2.6; " + FLOWS,
    refusals=("duplicate-message", "no-sender-key"),
    needs=("groups",),
)
def iterations_count_up(story: Story) -> Iterator[Finding]:
    """On each sender's chain the iterations start at 0, strictly increase and none is used twice, by two writers of one
    store neither; a member reads each message once, in any order within the window.
    """
    yield from _counted(story)
    yield from _as_the_model_counts(story)
    yield from _read_once(story)
    yield from as_expected(story, "GRP-01")


def _sent(event: Event, grouped: Grouped) -> Iterator[GroupHeader]:
    """The messages that went out with an event, in order: another process came before."""
    for strike in event.struck:
        if strike.group_sent is not None:
            yield strike.group_sent
    if grouped.header is not None:
        yield grouped.header


def _counted(story: Story) -> Iterator[Finding]:
    due: dict[tuple[int, str | None, int], int] = defaultdict(int)
    lost: dict[tuple[int, int | None], int] = defaultdict(int)
    for event, grouped in _in_groups(story):
        way = who(event)[0], grouped.group
        if event.op.kind in SENDING and event.outcome is Outcome.CRASHED:
            # Such a crash explains one missing iteration, no more.
            lost[way] += 1
        for sent in _sent(event, grouped):
            chain = way[0], sent.distribution_id, sent.chain_id
            explained = lost.pop(way, 0)
            if sent.iteration < due[chain]:
                # A repeated iteration is a repeated message key: two ciphertexts under one key and IV.
                yield Violation(event, f"iteration {sent.iteration} again, {due[chain]} was due")
            elif sent.iteration - due[chain] > explained:
                yield Violation(event, f"iteration {sent.iteration} skips {due[chain]} and no lost call explains it")
            else:
                yield None
            due[chain] = sent.iteration + 1


def _as_the_model_counts(story: Story) -> Iterator[Finding]:
    ids: dict[tuple[int, int], int] = {}
    chains: dict[int, tuple[int, int]] = {}
    for event, expect in story.expected:
        header = None if event.group is None else event.group.header
        if header is None or expect.chain is None or event.outcome is not Outcome.DONE:
            continue
        name = who(event)[0], header.chain_id
        one_chain = ids.setdefault(name, expect.chain) == expect.chain
        one_id = chains.setdefault(expect.chain, name) == name
        if not (one_chain and one_id):
            yield Violation(event, "not the id of the sender's present chain")
        elif header.iteration != expect.iteration:
            yield Violation(event, f"iteration {header.iteration}, {expect.iteration} was due")
        else:
            yield None


def _read_once(story: Story) -> Iterator[Finding]:
    read: set[tuple[int, int, int]] = set()
    for event in story.events:
        grouped = event.group
        if event.op.kind is Kind.REINSTALL:
            # Whoever lost its store may be given the chain again.
            read = {each for each in read if each[0] != event.actor}
        if grouped is None or grouped.plaintext is None or grouped.plaintext < 0:
            continue
        name = (*who(event), grouped.plaintext)
        yield Violation(event, f"g{grouped.plaintext} was read before") if name in read else None
        read.add(name)


# -- GRP-02 -----------------------------------------------------------------------------------------------------------


@invariant(
    id="GRP-02",
    threat="T-FORGERY",
    source="XEdDSA, section 3; " + FLOWS,
    refusals=("invalid-signature",),
    needs=("groups",),
    not_covered="that nothing is derived before the signature holds, for a target whose work cannot be counted",
)
def messages_are_signed(story: Story) -> Iterator[Finding]:
    """Every group message that is accepted carries a valid signature of its chain's signing key, over the bytes as
    received, which is checked before anything is derived.
    """
    for event, expect in story.expected:
        grouped, seen = event.group, event.after
        if grouped is None or event.op.kind not in RECEIVED:
            continue
        if grouped.plaintext is not None and grouped.plaintext < 0 and expect.accept is not None:
            yield Violation(event, "a plaintext that nobody sent")
        work = None if seen is None else seen.work
        if expect.derives == 0 and work is not None and event.outcome is Outcome.REFUSED and not event.contended:
            yield Violation(event, f"{work} derivations for a message that is not signed") if work else None
    yield from as_expected(story, "GRP-02")


# -- GRP-03 -----------------------------------------------------------------------------------------------------------


@invariant(
    id="GRP-03",
    threat="T-REPLAY",
    source=FLOWS,
    refusals=("retired-sender-key", "duplicate-message"),
    needs=("groups",),
    not_covered="more retired chains of one sender than the stated bound (1,000)",
)
def distributions_do_not_rewind(story: Story) -> Iterator[Finding]:
    """A distribution that comes again leaves its chain where it is: what was read stays read, and the rest can be read;
    one of a chain that is gone is refused, while that is remembered.
    """
    yield from as_expected(story, "GRP-03")


# -- GRP-04 -----------------------------------------------------------------------------------------------------------


@invariant(
    id="GRP-04",
    threat="T-KEYS",
    source=FLOWS,
    refusals=("no-sender-key", "members-without-session"),
    needs=("groups",),
    not_covered="what a removed member is told by others; messages before the rotation; for a target whose state "
    "cannot be taken, anything but its own refusals",
)
def removed_members_read_nothing_new(story: Story) -> Iterator[Finding]:
    """Whoever was not given a chain reads nothing on it: a removed member who kept everything reads no message that was
    sent after the senders rotated, and whoever takes a state reads of what is sent later what the model says; whoever
    sends to all members gives the chain to each that may not have it, and to nobody else.
    """
    yield from _compared(story, after=True)
    yield from _given(story)
    yield from as_expected(story, "GRP-04")


def _given(story: Story) -> Iterator[Finding]:
    """Compare whom the chain was given to with what the model says."""
    for event, expect in story.expected:
        if expect.gives is None or event.outcome is not Outcome.DONE or event.group is None:
            continue
        given = frozenset(gave.peer for gave in event.group.gave)
        if given - expect.gives:
            yield Violation(event, f"the chain was given to {_parties(given - expect.gives)}, who are not to get it")
        elif expect.gives - given:
            yield Violation(event, f"the chain was not given to {_parties(expect.gives - given)}")
        else:
            yield None


def _parties(numbers: frozenset[int]) -> str:
    return " and ".join(PARTIES[number] for number in sorted(numbers))


def _compared(story: Story, *, after: bool) -> Iterator[Finding]:
    """Compare what the attacker read in groups with what the model says."""
    sent = 0
    for event, expect in story.expected:
        grouped = event.group
        if grouped is not None and grouped.message is not None:
            sent = max(sent, grouped.message + 1)
        if grouped is None or grouped.reads is None or expect.group_reads is None:
            continue
        whole = range(expect.group_since, sent) if after else range(min(expect.group_since, sent))
        # Without a message there is nothing to read, and nothing was checked.
        if whole:
            yield _difference(event, grouped.reads, expect, frozenset(whole))


def _difference(event: Event, reads: tuple[int, ...], expect: Expect, judged: frozenset[int]) -> Finding:
    read, due = judged.intersection(reads), judged.intersection(expect.group_reads or ())
    if read - due:
        return Violation(event, f"the attacker reads {_names(read - due)}; the model says {_names(due)}")
    if due - read:
        return Violation(event, f"the attacker cannot read {_names(due - read)}; the model says it can")
    return None


def _names(handles: frozenset[int]) -> str:
    return ", ".join(f"g{handle}" for handle in sorted(handles)) or "none"


# -- GRP-05 -----------------------------------------------------------------------------------------------------------


@invariant(
    id="GRP-05",
    threat="T-FORGERY",
    source=FLOWS,
    refusals=("invalid-signature", "no-sender-key", "wrong-group"),
    needs=("groups",),
    not_covered="a member that gives another's chain as its own",
)
def members_speak_for_themselves(story: Story) -> Iterator[Finding]:
    """A member cannot send as another member, nor can a message or a chain be moved to another group, or outlive the
    identity under which it came.
    """
    yield from as_expected(story, "GRP-05")


# -- GRP-06 -----------------------------------------------------------------------------------------------------------

CATALOGUE = Limits()


@invariant(
    id="GRP-06",
    threat="T-KEYS",
    source="Double Ratchet, sections 2.1, 2.6 and 8.4; " + FLOWS,
    level=Observe.COUNTS,
    refusals=("too-far-ahead", "conflict", "storage-error", "store-busy"),
    needs=("groups",),
    not_covered="the process's memory; what the disk keeps of deleted rows; for a target whose state cannot be taken, "
    "what it holds",
)
def sender_keys_are_kept_as_keys_are(story: Story) -> Iterator[Finding]:
    """What KEY, BND and ATM say of sessions holds of sender keys: what was read or sent is sealed, chains, kept keys,
    jumps and work are bounded, and a step happens whole, durably, or not at all.
    """
    yield from _sealed(story)
    yield from _compared(story, after=False)
    for event in story.events:
        yield from _bounded(event, story.history.target.limits)
        yield from _whole(event)
    for event, expect in story.expected:
        yield from _cheap(event, expect, story.history.target.limits)
    yield from as_expected(story, "GRP-06")


def _sealed(story: Story) -> Iterator[Finding]:
    """KEY-01, KEY-02: what a party's chains and kept keys still read is what it may read still."""
    for event, expect in story.expected:
        readable = None if event.group is None else event.group.readable
        if readable is None or expect.group_reads is None:
            continue
        leaked = frozenset(readable) - expect.group_reads
        yield Violation(event, f"its chains still decrypt {_names(leaked)}") if leaked else None


def _bounded(event: Event, limits: Limits) -> Iterator[Finding]:
    """BND-02: what is held."""
    seen = event.after
    if seen is None or event.op.kind not in CHANGING:
        return
    for what, count, declared, catalogue in (
        ("chains of one sender", seen.group_chains, limits.sender_chains, CATALOGUE.sender_chains),
        ("keys kept in one chain of a group", seen.group_kept, limits.kept_per_chain, CATALOGUE.kept_per_chain),
    ):
        most = catalogue if declared is None else declared
        if count is not None and most is not None:
            yield Violation(event, f"{count} {what}, at most {most:,} are allowed") if count > most else None


def _whole(event: Event) -> Iterator[Finding]:
    """ATM-01, ATM-02, ATM-05: before or after, and durable when it is handed out."""
    if event.op.kind not in CHANGING or event.before is None or event.after is None:
        return
    stirred = any(strike.changed for strike in event.struck)
    if event.outcome is Outcome.CRASHED and not (event.changed and stirred):
        whole = not event.changed or event.after.digest == event.complete
        yield None if whole else Violation(event, "after the crash the store holds half of the step")
    elif event.outcome is Outcome.REFUSED:
        yield Violation(event, f"refused ({event.code}), yet the state changed") if event.changed else None
    gives = event.op.kind in SENDING or (event.group is not None and event.group.plaintext is not None)
    if gives and event.outcome is Outcome.DONE and event.after.durable is not None:
        yield None if event.after.durable else Violation(event, "handed out before its state was durable")


def _cheap(event: Event, expect: Expect, limits: Limits) -> Iterator[Finding]:
    """BND-01, BND-03: what a message costs; what it passes over costs its share."""
    seen = event.after
    if seen is None or event.op.kind not in (*RECEIVED, Kind.GROUP_SEND) or event.struck or event.contended:
        return
    share = 1 + expect.extra
    # What is accepted and may not be is another invariant's finding.
    done = event.outcome is Outcome.DONE and expect.accept is not False
    derivations = expect.derives if done else limits.forward_jump
    for what, count, most in (
        ("rows", seen.rows, None if limits.rows_per_message is None else limits.rows_per_message * share),
        ("bytes written", seen.written, None if limits.bytes_per_message is None else limits.bytes_per_message * share),
        ("derivations", seen.work, derivations),
    ):
        if count is not None and most is not None:
            yield Violation(event, f"{count} {what} for one group message, {most} are due") if count > most else None
