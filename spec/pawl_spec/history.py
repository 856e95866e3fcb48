"""Histories: what happened when a trace ran on a target.

A history is data. It holds who the target is, the trace, and one event per operation with what the target did and what
could be observed. Predicates (`pawl_spec.invariants`) read histories; a stored history can be judged again by a later
specification.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum, IntEnum
from typing import Any

from pawl_spec.pool.history import PoolHistory
from pawl_spec.trace import Op, Trace


class Observe(IntEnum):
    """How much of a target can be seen. A verdict is never stated above the level at which it was reached."""

    WIRE = 0
    """L0: what goes over the wire and what is accepted."""
    COUNTS = 1
    """L1: ids and counts of retained keys, and a digest of the stored state."""
    STATE = 2
    """L2: the full state, which can be forked and handed to the attacker."""
    DISK = 3
    """L3: the bytes on disk."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a target declares; the model takes them. None means that the target declares no such limit."""

    forward_jump: int = 25_000
    """Largest accepted difference between a message's counter and the next expected one."""
    kept_per_chain: int | None = 2_000
    kept_per_session: int | None = 8_000
    receiving_chains: int | None = 5
    archived_sessions: int | None = 40
    derivations_per_message: int | None = None
    """Chain steps and key derivations that one received message may cause."""
    rows_per_message: int | None = None
    """Rows read and written for a message that keeps no key, in one session; as many more for each key that it adds
    or pushes out, and for each further session that is tried."""
    bytes_per_message: int | None = None
    """Bytes written to the store, counted as `rows_per_message` counts rows."""
    memory_per_message: int | None = None
    """Bytes of memory that one message of any length may take beside itself while it is refused."""
    signed_prekey_grace: int | None = None
    """Seconds for which a signed prekey is still used after another one took its place; then it is deleted."""
    unacknowledged: int | None = None
    """Seconds for which an initiator sends on a session that the peer never answered."""
    sender_chains: int | None = 5
    """Chains held of one sender in one group; each keeps as many keys as a chain of a session, and jumps as far."""
    retired_chains: int | None = 1_000
    """Chains of one sender in one group that are gone, and known to be."""
    senders: int | None = None
    """Senders of whom chains are held in one group."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Where implementations rightly differ; declared, never guessed."""

    promotes: str = "on-new-chain"
    """Which received message makes an archived session the current one: "on-new-chain", "always" or "never"."""
    closes_chains: bool = False
    """A new ratchet key closes the former receiving chain at `previous_counter` instead of leaving it open."""
    needs_one_time: bool = False
    """A session begins with a one-time prekey or not at all. Every bundle then has one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a target says of itself."""

    name: str
    version: str
    level: Observe
    capabilities: frozenset[str]
    """Declared abilities; docs/reference/driver-contract.md says what each means."""
    limits: Limits = Limits()
    profile: Profile = Profile()
    sessions: bool = True
    """Whether it does sessions that are judged here; a target may do groups alone."""
    group_layout: str = "current"
    """Which fields its group messages have: "current", or "earlier", in which no message names its group. A target
    that can do both may be told the other one for a group (`Kind.GROUP_LAYOUT`)."""
    profiles: tuple[Profile, ...] = ()
    """By party, where several implementations share a world; without them `profile` is everybody's."""

    def lacks(self, needs: frozenset[str], *, anywhere: bool = False) -> list[str]:
        """What it does not declare of `needs`, and of what goes without saying: what needs no groups needs sessions.

        `anywhere`: sessions or groups, either will do. Two are declared by the profile: "keeps-current", that a late
        message of an older session leaves the current one where it is, and "sessions-without-one-time".
        """
        due = needs if anywhere or "groups" in needs else needs | {"sessions"}
        said = {
            "sessions": self.sessions,
            "keeps-current": self.profile.promotes != "always",
            "sessions-without-one-time": not self.profile.needs_one_time,
        }
        return sorted(due - self.capabilities - {need for need, declared in said.items() if declared})


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one party after an operation. None means "cannot be seen here"."""

    digest: str
    """Of everything the party stores; equal digests mean equal state."""
    prekeys: tuple[int, ...] | None = None
    """Ids of the one-time prekeys still held."""
    sessions: int | None = None
    """Archived sessions held for the peer that has the most."""
    chains: int | None = None
    """Receiving chains of the session that has the most."""
    kept_chain: int | None = None
    """Kept message keys of the chain that has the most."""
    kept_session: int | None = None
    """Kept message keys of the session that has the most."""
    durable: bool | None = None
    """Whether what the last operation changed was durable when it returned."""
    work: int | None = None
    """Chain steps and key derivations that the last operation caused."""
    rows: int | None = None
    """Rows of the store that the last operation read, wrote or deleted."""
    written: int | None = None
    """Bytes that the last operation wrote to the store."""
    memory: int | None = field(default=None, compare=False)
    """Bytes of memory that the last operation took at its peak, where that was measured."""
    signed_prekeys: tuple[int, ...] | None = None
    """Ids of the signed prekeys still held."""
    group_chains: int | None = None
    """Chains held of the sender in a group that has the most."""
    group_kept: int | None = None
    """Kept message keys of the chain in a group that has the most."""


class Outcome(Enum):
    """How an operation ended."""

    DONE = "done"
    REFUSED = "refused"
    CRASHED = "crashed"
    """A crash that the trace asked for."""
    DIED = "died"
    """The target's program ended, or raised something that is not a refusal."""
    HUNG = "hung"
    SKIPPED = "skipped"
    """Nothing to do: no such message, no such session to act on, or the target declares that it cannot."""


@dataclass(frozen=True, slots=True)
class Header:
    """What can be read off a message on the wire without any key."""

    kind: str
    """"prekey" or "signal"."""
    version: int
    """The version byte."""
    ratchet_key: str
    """Hex. Names the sending chain."""
    counter: int
    previous_counter: int
    base_key: str | None = None
    """Hex; of a prekey message only."""
    prekey_id: int | None = None
    signed_prekey_id: int | None = None
    identity_key: str | None = None
    registration_id: int | None = None


@dataclass(frozen=True, slots=True)
class GroupHeader:
    """What can be read off a group message without any key."""

    version: int
    """The version byte."""
    distribution_id: str | None
    """Hex; None: a layout that does not say it."""
    chain_id: int
    iteration: int


@dataclass(frozen=True, slots=True)
class Gave:
    """A message of a session that gives a member the sender's chain."""

    peer: int
    message: int
    """Its handle."""
    header: Header


@dataclass(frozen=True, slots=True)
class Grouped:
    """What an event did in a group, or saw of groups. Handles of group messages and of distributions count apart."""

    group: int | None = None
    distribution: int | None = None
    """Handle of the distribution that was made, or handed over."""
    message: int | None = None
    """Handle of the group message that was sent, or handed over."""
    header: GroupHeader | None = None
    """Of the message sent."""
    plaintext: int | None = None
    """Handle of the group message whose plaintext came out; -1 for a plaintext that nobody sent."""
    readable: tuple[int, ...] | None = None
    """Of an inspection: group messages that the attacker could read with the actor's chains and kept keys."""
    reads: tuple[int, ...] | None = None
    """Of the attacker's search: the group messages that it could read with the whole states that it took."""
    gave: tuple[Gave, ...] = ()
    """Of a message for all members: the messages that give them the chain, in order."""


@dataclass(frozen=True, slots=True)
class Question:
    """A trust question that the application was asked while an operation ran."""

    callback: str
    """"first-use" or "mismatch"."""
    name: str
    """Whose identity it is, as the library called it."""
    key: str
    """Hex, 32 bytes: the identity in question."""


@dataclass(frozen=True, slots=True)
class Strike:
    """What a callback did that was told to misbehave once, or another process with the same store."""

    callback: str
    """"first-use", "mismatch", "event" or "plaintext"; "rival": another process, before the party's own commit."""
    how: str
    peer: int | None = None
    """With whom it was to talk if it called back into the library."""
    before: str | None = None
    """Digest of everything that its party stored when it began; None: that cannot be seen."""
    after: str | None = None
    """The digest when it ended."""
    sent: Header | None = None
    """The message that it sent; the network lost it."""
    group_sent: GroupHeader | None = None
    """The same, in the group in which its party was busy."""

    def __str__(self) -> str:
        return f"{self.callback}: {self.how}"

    @property
    def changed(self) -> bool:
        """It changed what its party stores."""
        return self.sent is not None or self.group_sent is not None or self.before != self.after


@dataclass(frozen=True, slots=True)
class Damaged:
    """What became of an operation that was first tried on a copy of the store in which one record was damaged."""

    read: bool
    """The damaged record was read."""
    outcome: Outcome
    code: str | None
    kept: bool
    """The damaged record is still there as it was: neither overwritten nor deleted."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search of all bytes of a store's files found. Secrets are counted, never kept."""

    gone: int
    """Secrets that were in rows before or during the operation, and are in none afterwards."""
    left: int
    """How many of those are in the files all the same, in whole or in part."""
    where: tuple[str, ...]
    """Names of the files that hold them."""
    held: int
    """Secrets that are in rows afterwards."""
    seen: int
    """How many of those the same search finds: all, or it is blind."""
    copies: int = 0
    """How many of those stand in the files more often than in rows, where their deletion will leave them."""


@dataclass(frozen=True, slots=True)
class Medium:
    """What became of an operation that was first tried on the party's store as another medium gives it back."""

    how: str
    """What was done to the medium: one of `trace.MEDIA`."""
    read: bool
    """What was done was met: a record that it concerns was read, or the store itself is concerned."""
    outcome: Outcome
    code: str | None
    kept: bool
    """The medium is as it was: neither overwritten nor made anew."""
    digest: str | None = None
    """Of all rows afterwards, where the store could be opened."""
    transactions: int = 0
    said: int = 0
    """Events that a store without transactions is in use."""
    search: Search | None = None
    """Of the files afterwards, where they were searched."""


# Without slots: what has a dictionary of its fields is copied many times faster, and each event is, several times.
@dataclass(frozen=True)
class Event:
    """One operation and what came of it."""

    step: int
    op: Op
    outcome: Outcome
    actor: int | None = None
    """The party that acted."""
    peer: int | None = None
    code: str | None = None
    """The refusal code."""
    text: str = ""
    """The target's own words, for people."""
    message: int | None = None
    """Handle of the message that was sent or delivered."""
    header: Header | None = None
    """Of the message sent."""
    plaintext: int | None = None
    """Handle of the message whose plaintext came out; -1 for a plaintext that nobody sent."""
    before: Observation | None = None
    after: Observation | None = None
    complete: str | None = None
    """After a crash: the digest that the completed operation would have left."""
    readable: tuple[int, ...] | None = None
    """Handles that the attacker could read with the actor's session state."""
    prekey_id: int | None = None
    """The one-time prekey that a bundle handed out."""
    canonical: bool | None = None
    """Of a message sent: whether its bytes are the canonical encoding of what they say."""
    counters: tuple[int, ...] = ()
    """Of a burst: the counters of its messages; all are on the chain that `header`, of the first, names."""
    crash_armed: bool = False
    """Whether a crash point was armed for this operation; it may have ended before reaching it."""
    told: tuple[str, ...] = ()
    """Names of the events that the target reported to the application."""
    asked: tuple[Question, ...] = ()
    """Trust questions, in order."""
    claimed: str | None = None
    """Hex, 32 bytes: the identity in the bundle or message, where a trust question was asked."""
    struck: tuple[Strike, ...] = ()
    """The callbacks of the actor that misbehaved during this operation, in order."""
    peer_struck: tuple[Strike, ...] = ()
    """Those of the peer, while it made the bundle for this operation."""
    rotated: bool = False
    """Maintenance made a new signed prekey."""
    held: tuple[int, ...] | None = None
    """Secrets in the actor's session state, numbered by value in the order in which they were first seen there."""
    reads: tuple[int, ...] | None = None
    """Handles of all recorded messages that the attacker could read with the whole states that it took; None: it did
    not search, or the search was too long."""
    leaks: tuple[str, ...] | None = None
    """Where a secret was found in the texts that the target handed out since the last search; None: not searched."""
    damaged: Damaged | None = None
    medium: Medium | None = None
    stored: tuple[int, ...] | None = None
    """Handles of the messages whose plaintexts the actor's application finds in its store afterwards, one for each
    row; -1 for a plaintext that nobody sent. None: it stores none there, or that cannot be seen."""
    group_stored: tuple[int, ...] | None = None
    """The same, of the messages of groups."""
    group: Grouped | None = None
    """What it did in a group, or saw of groups."""
    fault: str | None = None
    """How the store refused one of the operation's calls, as the trace asked; None: it did not."""

    @staticmethod
    def begun(step: int, op: Op, outcome: Outcome) -> Event:
        """An event of which no more is known yet: `Event(step, op, outcome)`, made some times faster."""
        # Not one by one: most fields are never given another value, and are then read off the class.
        new = object.__new__(Event)
        vars(new).update(step=step, op=op, outcome=outcome)
        return new

    def but(self, **changes: Any) -> Event:
        """The same with some fields changed. As `dataclasses.replace`, which sets every field anew."""
        if not FIELDS.issuperset(changes):
            raise TypeError(f"an event has no such field: {', '.join(sorted(changes.keys() - FIELDS))}")
        twin = object.__new__(Event)
        known = vars(twin)
        known.update(vars(self))
        known.update(changes)
        return twin

    @property
    def contended(self) -> bool:
        """The store refused a call, or another process wrote meanwhile: the step may have been tried more than once."""
        return self.fault is not None or self.rival is not None

    @property
    def refused_again(self) -> bool:
        """The store answered with a conflict, the step was taken again, and then refused for a reason of its own."""
        return self.fault == "conflict" and self.outcome is Outcome.REFUSED and self.code not in ("conflict", "unknown")

    @property
    def rival(self) -> Strike | None:
        """What another process did with the store between the operation's reading and its commit."""
        # Mostly nobody did anything, and nearly every predicate asks.
        if not self.struck:
            return None
        return next((strike for strike in self.struck if strike.callback == "rival"), None)

    def around(self) -> tuple[tuple[Strike, ...], tuple[Strike, ...], bool]:
        """What callbacks did before the operation's own change of state, what after it, and whether that change came.

        Where it did not, all of it is said to be before.
        """
        if not self.struck:
            return (), (), self.changed
        # Seen or not: a trust question is asked before the step, an event is heard after it.
        early = tuple(strike for strike in self.struck if strike.callback != "event")
        if self.before is None or self.after is None:
            return early, self.struck[len(early) :], False
        now = self.before.digest
        if any(strike.before is None for strike in self.struck):
            own = now != self.after.digest and not any(strike.changed for strike in self.struck)
            return early, self.struck[len(early) :], own
        for place, strike in enumerate(self.struck):
            # Somebody else changed the state since: the operation itself.
            if strike.before != now:
                return self.struck[:place], self.struck[place:], True
            now = strike.after or now
        return self.struck, (), now != self.after.digest

    @property
    def changed(self) -> bool:
        """The operation itself changed the state; what a callback changed meanwhile does not count."""
        if self.struck:
            return self.around()[2]
        return self.before is not None and self.after is not None and self.before.digest != self.after.digest


FIELDS = frozenset(each.name for each in fields(Event))


@dataclass(slots=True)
class History:
    """A trace and what happened, in order."""

    target: Hello
    trace: Trace
    events: list[Event] = field(default_factory=list)
    closing: int | None = None
    """Index of the first event of the closing part, in which the network delivers everything and both sides of each
    pair try to talk again; None if the trace was run without it."""
    pool: PoolHistory | None = None
    """Of a worker pool, in place of a trace."""
