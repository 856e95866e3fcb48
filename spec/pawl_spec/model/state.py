"""What parties hold and what goes between them, in terms. Immutable, but for the parties themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pawl_spec.model.terms import Term


class Chain(NamedTuple):
    """A receiving chain: the peer's ratchet key, the chain's base term, the next counter, the kept counters."""

    ratchet: Term
    base: Term
    next: int = 0
    kept: frozenset[int] = frozenset()
    closed: bool = False
    born: int = 0
    """The step at which it began."""


class Session(NamedTuple):
    """One side of a session, in terms."""

    base: Term
    """The initiator's base key, which names the session."""
    remote: Term
    """The peer's identity key."""
    root: Term
    ratchet: Term
    """Own ratchet key."""
    sending: Term
    counter: int
    previous: int
    receiving: tuple[Chain, ...]
    pending: tuple[int | None, Term] | None
    """One-time prekey id and signed prekey, until the peer answers."""
    created: int = 0
    """The time at which it was made, in seconds."""
    born: int = 0
    """The step at which it was made."""


class Outer(NamedTuple):
    """The outer layer of a prekey message."""

    base: Term
    identity: Term
    prekey_id: int | None
    signed_prekey: Term | None
    """None: an id that nobody has."""


class Message(NamedTuple):
    """A message in terms. `defect` is set when its bytes break the format."""

    ratchet: Term
    counter: int
    previous: int
    version: int
    body: Term
    mac: Term
    handle: int
    sender: int
    receiver: int
    outer: Outer | None
    key: Term
    """Its message key."""
    session: Term
    """The base key of the session on which it was sent."""
    outer_version: int = 0x33
    defect: tuple[frozenset[str], str] | None = None
    lenient: bool = False
    """A change that the format allows a receiver to accept or to refuse."""
    fallback: bool = False
    """Read by a compatibility option that the receiver has switched on."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A prekey bundle in terms; the signature is a term over identity and signed prekey."""

    identity: Term
    signed_prekey: Term
    signature: Term
    prekey_id: int | None
    prekey: Term | None
    defect: tuple[str, str] | None = None
    fallback: bool = False
    """Read by a compatibility option that the receiver has switched on."""


@dataclass(frozen=True, slots=True)
class SignedPreKey:
    """A signed prekey, and the time at which another took its place."""

    key: Term
    superseded: int | None = None


class SenderChain(NamedTuple):
    """A chain of a group, at its sender or at a member: id and signing key name it."""

    id: Term
    signing: Term
    base: Term
    next: int = 0
    kept: frozenset[int] = frozenset()
    """At a member: iterations of messages that were passed over."""

    @property
    def name(self) -> tuple[Term, Term]:
        """Two chains of one name are one."""
        return self.id, self.signing


@dataclass(frozen=True, slots=True)
class Membership:
    """What a party holds of one sender in one group."""

    identity: Term | None = None
    """The sender's, pinned when the chains came; None: none was."""
    chains: tuple[SenderChain, ...] = ()
    """Newest first."""
    retired: tuple[tuple[Term, Term], ...] = ()
    """The names of chains that are gone, the oldest first."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A chain as somebody gives it to members. `named` is the group that its bytes name."""

    sender: int
    group: int
    named: int
    chain: SenderChain
    real: bool = True
    """Its sender's own device made it."""
    crafted: bool = False
    """The attacker has the chain's key, and signs on it."""
    defect: tuple[frozenset[str], str] | None = None


class GroupMessage(NamedTuple):
    """A group message in terms. `defect` is set when its bytes break the format."""

    handle: int
    sender: int
    group: int
    named: int | None
    id: Term
    iteration: int
    key: Term
    """Its message key."""
    base: Term
    """Of its chain."""
    signed: Term
    """The key that signed what its bytes say now; -1: nobody."""
    crafted: bool = False
    defect: tuple[frozenset[str], str] | None = None


@dataclass(slots=True)
class Party:
    """One party's state."""

    identity: Term
    signed_prekeys: list[SignedPreKey]
    """Those still held, the current one last."""
    strict: bool
    pins: dict[int, Term] = field(default_factory=dict)
    sessions: dict[int, tuple[Session, ...]] = field(default_factory=dict)
    """Per peer, the current one first."""
    prekeys: dict[int, Term] = field(default_factory=dict)
    seen: set[Term] = field(default_factory=set)
    """Base keys of sessions that were built without a one-time prekey."""
    asks: set[str] = field(default_factory=set)
    """The trust questions for which the application has a callback."""
    armed: dict[str, str] = field(default_factory=dict)
    """What the application's next callback of a kind does; otherwise it does what the policy without it would do."""
    compatible: frozenset[str] = frozenset()
    """Compatibility options that are switched on."""
    own_chains: dict[int, SenderChain] = field(default_factory=dict)
    """The chains on which it sends, by group."""
    memberships: dict[tuple[int, int], Membership] = field(default_factory=dict)
    """By sender and group."""
    members: dict[int, frozenset[int]] = field(default_factory=dict)
    """Who is to be given its chain through sessions, by group."""
    gave: dict[tuple[int, int], tuple[Term, Term, bool]] = field(default_factory=dict)
    """By group and member: the id of the chain that it was last given, under which identity, and whether that came."""

    @property
    def signed_prekey(self) -> Term:
        """The current signed prekey."""
        return self.signed_prekeys[-1].key


class Received(NamedTuple):
    """What accepting a message does."""

    session: Session
    handle: int
    starts_chain: bool
    keys: int
    """Message keys that are kept for later, or pushed out."""
