"""Counters and replay: one position on a sending chain is used once, and one message is delivered once.

Threat        T-REPLAY: an attacker replays, reorders or withholds messages to confuse state.
Source        Double Ratchet, sections 2.1, 2.6 and 3; threat model, "Message Replay / Counter Reuse".
Not covered   A whole device restored from an old backup outside the store; two processes on one store, on which
              pawl_spec.shared_store judges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pawl_spec.history import Event, Observe, Outcome, Strike
from pawl_spec.invariants.common import RECEIVES, as_expected, who
from pawl_spec.registry import Finding, Story, Violation, invariant
from pawl_spec.trace import PARTIES, Kind

REPLAY = 'threat model, "Message Replay / Counter Reuse"'


Way = tuple[int, int]
"""Who sends, and to whom."""


def _sent(event: Event) -> Iterator[tuple[Way, str, int]]:
    """Of each message that went out with an event, in order: its way, its ratchet key, its counter."""
    actor, peer = who(event)
    early, late, _ = event.around() if event.struck else ((), (), False)
    yield from _sent_inside(peer, event.peer_struck)
    yield from _sent_inside(actor, early)
    if event.header is not None:
        for counter in event.counters or (event.header.counter,):
            yield (actor, peer), event.header.ratchet_key, counter
    for gave in event.group.gave if event.group is not None and event.op.kind is Kind.GROUP_SHARE else ():
        yield (actor, gave.peer), gave.header.ratchet_key, gave.header.counter
    yield from _sent_inside(actor, late)


def _sent_inside(party: int, strikes: tuple[Strike, ...]) -> Iterator[tuple[Way, str, int]]:
    for strike in strikes:
        if strike.sent is not None:
            yield (party, -1 if strike.peer is None else strike.peer), strike.sent.ratchet_key, strike.sent.counter


def _lost(event: Event) -> Iterator[Way]:
    """The ways of messages that a crash may have lost between commit and hand-out."""
    if event.outcome is Outcome.CRASHED:
        if event.op.kind is Kind.SEND:
            yield who(event)
        if event.op.kind is Kind.GROUP_SHARE:
            # The chain may have been for anybody.
            yield from ((who(event)[0], peer) for peer in range(len(PARTIES)))
        for strike in event.struck:
            if strike.how == "call-encrypt" and strike.sent is None and strike.peer is not None:
                yield who(event)[0], strike.peer


def _counters(story: Story, *, only_after_restart: bool) -> Iterator[Finding]:
    due: dict[str, int] = defaultdict(int)
    explained: dict[str, int] = defaultdict(int)
    lost: dict[Way, int] = defaultdict(int)
    restarted: set[int | None] = set()
    for event in story.events:
        if event.op.kind is Kind.RESTART or event.outcome is Outcome.CRASHED:
            restarted.add(event.actor)
        for way in _lost(event):
            # Such a crash explains one missing counter, no more.
            lost[way] += 1
        for way, chain, counter in _sent(event):
            explained[chain] += lost.pop(way, 0)
            # A repeated counter is a repeated message key: two ciphertexts under one key and IV.
            if counter < due[chain]:
                problem = f"counter {counter} again, {due[chain]} was due"
            elif counter - due[chain] > explained[chain]:
                problem = f"counter {counter} skips {due[chain]} and no lost call explains it"
            else:
                problem = ""
            if not only_after_restart or event.actor in restarted:
                yield Violation(event, problem) if problem else None
            explained[chain] -= max(counter - due[chain], 0)
            due[chain] = counter + 1


@invariant(id="CTR-01", threat="T-REPLAY", source="Double Ratchet, section 2.1")
def counters_count_up(story: Story) -> Iterator[Finding]:
    """On each sending chain the counters start at 0, strictly increase and none is used twice; a gap needs a crash
    between commit and hand-out to explain it.
    """
    yield from _counters(story, only_after_restart=False)


@invariant(
    id="CTR-02",
    threat="T-REPLAY",
    source=REPLAY,
    needs=("restart",),
    not_covered="two processes that share a store: pawl store trial judges them, by pawl_spec.shared_store",
)
def counters_survive_restarts(story: Story) -> Iterator[Finding]:
    """CTR-01 holds across crash and restart."""
    yield from _counters(story, only_after_restart=True)


@invariant(
    id="CTR-03",
    threat="T-REPLAY",
    source="Double Ratchet, section 2.6",
    refusals=("duplicate-message", "no-session", "bad-mac", "unknown-prekey"),
)
def messages_are_delivered_once(story: Story) -> Iterator[Finding]:
    """Every message is delivered at most once; a repeat is refused."""
    delivered: set[int] = set()
    for event in story.events:
        if event.op.kind.word not in RECEIVES or event.message is None:
            continue
        if event.outcome is Outcome.DONE and event.plaintext is not None:
            if event.plaintext in delivered:
                yield Violation(event, f"m{event.plaintext} was delivered before")
            delivered.add(event.plaintext)
        elif event.outcome is Outcome.REFUSED and event.message in delivered:
            yield None
    yield from as_expected(story, "CTR-03")


@invariant(
    id="CTR-04",
    threat="T-REPLAY",
    source="Double Ratchet, section 2.6",
    refusals=("too-far-ahead", "duplicate-message"),
)
def window_is_kept(story: Story) -> Iterator[Finding]:
    """Messages within the window are accepted in any order; beyond it they are refused."""
    yield from as_expected(story, "CTR-04")


@invariant(id="CTR-05", threat="T-REPLAY", source="Double Ratchet, section 3.5", level=Observe.COUNTS)
def refusals_change_nothing(story: Story) -> Iterator[Finding]:
    """A refused operation leaves the stored state as it was."""
    for event in story.events:
        if event.outcome is not Outcome.REFUSED or event.before is None or event.after is None:
            continue
        # What the application did itself, from inside a callback, is not the refused operation's doing.
        yield Violation(event, f"refused ({event.code}), yet the state changed") if event.changed else None


@invariant(
    id="CTR-06",
    threat="T-REPLAY",
    source="X3DH, section 4.2",
    refusals=("duplicate-message", "replayed-prekey-message", "unknown-prekey"),
    not_covered="the bound of the memory of base keys",
)
def prekey_messages_are_not_replayed(story: Story) -> Iterator[Finding]:
    """A replayed prekey message creates no second session and delivers no second plaintext, also after the session
    was lost.
    """
    yield from as_expected(story, "CTR-06")


@invariant(
    id="CTR-07",
    threat="T-REPLAY",
    source="Sesame, section 3.3",
    needs=("steady-session",),
    not_covered="a peer that lost its state without saying so; one that says that each late message changes sessions",
)
def late_messages_leave_the_current_session(story: Story) -> Iterator[Finding]:
    """A late message of an older session never harms the current one: what is sent next goes on in it."""
    late: set[tuple[int, int]] = set()
    session_of: dict[str, int] = {}
    for event, expect in story.expected:
        if expect.late and event.outcome is Outcome.DONE:
            late.add(who(event))
        if expect.header is None or event.header is None:
            continue
        # A ratchet key belongs to the session for which it was first used.
        session = session_of.setdefault(event.header.ratchet_key, expect.header.session)
        if who(event) in late:
            late.discard(who(event))
            elsewhere = session != expect.header.session
            yield Violation(event, "the message after a late one went out on another session") if elsewhere else None


@invariant(
    id="CTR-08",
    threat="T-DESYNC",
    source="Sesame, section 3; threat model, security goals",
    not_covered="pairs whose identity policy refuses the peer",
)
def both_sides_can_talk_in_the_end(story: Story) -> Iterator[Finding]:
    """Once the network delivers everything, and each refused side establishes anew from a fresh bundle, both decrypt
    within 10 rounds.
    """
    start = story.history.closing
    if start is None:
        return
    # Ways are (receiver, sender). What was still in flight does not count: it was sent before.
    fresh: set[int | None] = set()
    heard: set[tuple[int, int]] = set()
    tried: dict[tuple[int, int], Event] = {}
    excused: set[frozenset[int]] = set()
    for event in story.events[start:]:
        if event.outcome in (Outcome.DIED, Outcome.HUNG):
            # PAR-01 says so; nothing can be said about liveness.
            return
        if event.code == "untrusted-identity":
            excused.add(frozenset(who(event)))
        one, other = who(event)
        if event.op.kind is Kind.SEND and event.outcome is not Outcome.SKIPPED:
            tried[other, one] = event
            if event.outcome is Outcome.DONE:
                fresh.add(event.message)
        elif event.op.kind is Kind.DELIVER and event.message in fresh:
            tried[one, other] = event
            if event.outcome is Outcome.DONE:
                heard.add((one, other))
    for pair in {frozenset(pair) for pair in tried}:
        if pair in excused or len(pair) < 2:
            continue
        one, other = sorted(pair)
        missing = [way for way in ((one, other), (other, one)) if way not in heard]
        if not missing:
            yield None
        elif last := tried.get(missing[0]):
            yield Violation(last, "10 rounds after everything was delivered, the receiver still hears nothing")
