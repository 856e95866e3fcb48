"""What a target is: anything that can carry out the operations of a trace.

A `Target` starts fresh `World`s; a world holds a few parties, each with a store of its own, and does one thing at a
time for one of them. It never sees the network or the trace: the runner carries messages between parties. Everything
that crosses this boundary is bytes, numbers and names, so that a foreign implementation can sit behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NoReturn, Protocol, Self, runtime_checkable

from pawl_spec.history import Damaged, Hello, Medium, Observation, Question, Strike


@dataclass(frozen=True, slots=True)
class WireMessage:
    """What one party hands to the network: `kind` ("prekey" or "signal", told beside the message) and its bytes."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A prekey bundle as a server would hand it out. Public keys have 33 bytes, the signature has 64."""

    registration_id: int
    device_id: int
    identity_key: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekey_id: int | None
    prekey: bytes | None


@dataclass(frozen=True, slots=True)
class ChainKey:
    """A chain key in a stolen row: the ratchet key (32 bytes) that names its chain, and the counter it is due for."""

    ratchet: bytes
    counter: int
    key: bytes


@dataclass(frozen=True, slots=True)
class GroupChainKey:
    """A chain key of a group in a stolen row: the id of its chain, and the iteration that it is due for."""

    chain_id: int
    iteration: int
    key: bytes


def _reads_nothing() -> Callable[[int, int, bytes], bytes | None]:
    return lambda sender, group, message: None


@dataclass(frozen=True, slots=True)
class Stolen:
    """A copy of everything that one party has stored. Of the lists of bytes, every entry has 32."""

    party: int
    words: tuple[bytes, ...]
    """Whatever in any row may be a key."""
    identities: tuple[bytes, ...]
    """Whatever may be the identity's private key; so too the next two."""
    signed_prekeys: tuple[bytes, ...]
    prekeys: tuple[bytes, ...]
    ratchets: tuple[bytes, ...]
    """Private ratchet keys of sessions."""
    roots: tuple[bytes, ...]
    chains: tuple[ChainKey, ...]
    fork: Callable[[], Callable[[int, WireMessage], bytes | None]]
    """A device over a copy of the state, with the attacker's own randomness: reads a message of a peer, or refuses."""
    as_implemented: Callable[[], AbstractContextManager[object]]
    """The attacker knows the implementation, with whatever is changed in it."""
    group_words: tuple[bytes, ...] = ()
    """Whatever in the rows of groups may be a key."""
    group_chains: tuple[GroupChainKey, ...] = ()
    fork_groups: Callable[[], Callable[[int, int, bytes], bytes | None]] = _reads_nothing
    """The same device: reads a message of a sender in a group (by number), or refuses."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The safety number of two identities, as one of the two sees it."""

    displayable: str
    """60 digits, the same on both sides."""
    scannable: bytes | None
    """The bytes of a code of version 2 that the other one scans; None: it makes none."""


class Refused(Exception):
    """The target refused what it was asked. `code` is one of the codes of `pawl.errors`, or "unknown"."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


class Misbehaved(Exception):
    """The implementation raised something that is not a refusal (in process only): a bug of it, a result of ours."""


class SimulatedCrash(BaseException):
    """An armed crash point was reached: the party's process is gone, only what is durable is left."""


class TargetCrashed(Exception):
    """The target's program ended. A result: it is judged, not excused."""


class TargetHung(Exception):
    """The target did not answer in time; it was killed. A result."""


class HarnessBroken(Exception):
    """The driver does not keep to the contract: nonsense on stdout, a missing verb, a wrong type. Exit code 3."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A group message, and the messages of sessions that give its chain to members, by the member's number."""

    distributions: tuple[tuple[int, WireMessage], ...]
    message: bytes
    distribution: bytes = b""
    """What those messages hold; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the application heard and did while the last operation of a party ran."""

    events: tuple[str, ...] = ()
    """Names of the events that were reported."""
    asked: tuple[Question, ...] = ()
    struck: tuple[tuple[Strike, WireMessage | None], ...] = ()
    """The callbacks that misbehaved, in order, and the message of a session that each sent."""


class World(Protocol):
    """A fresh set of parties. Parties are numbered from 0; each has one store and one device."""

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        """Make a party with a new store and identity, and return its identity key (33 bytes).

        Without trust on first use, only identities that were handed to `approve` are accepted.
        """

    def reinstall(self, party: int) -> bytes:
        """The party loses its store and starts again with a new identity under the same name; returns its key."""

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        """Make a bundle: the party's signed prekey and, if asked, a fresh one-time prekey."""

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        """Process a bundle that claims to be `peer`'s."""

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        """Encrypt for `peer`."""

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        """Decrypt a message that claims to come from `peer`."""

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        """Record the decision of `party`'s user that `identity_key` (33 bytes) is `peer`'s."""

    def restart(self, party: int) -> None:
        """Throw away everything in memory and open the party again from what is durable."""

    def arm_crash(self, party: int, at: int) -> None:
        """Let the party's next operation crash at its `at`-th store step. Needs the capability "crash"."""

    def disarm_crash(self, party: int) -> bool:
        """Take the crash point back; says whether it was still armed (the operation had fewer steps)."""

    def observe(self, party: int) -> Observation | None:
        """What can be seen of the party's state at the target's observation level; None below L1."""

    def secrets(self, party: int) -> Sequence[bytes]:
        """L2: every 32-byte secret in the party's *session* state (not identity, not prekeys), for the attacker."""

    def complete_digest(self, party: int) -> str | None:
        """After a crash: the digest the state would have had, had the crashed operation completed. Needs "crash"."""

    # -- what only a target that declares it can do -------------------------------------------------------------------

    def advance(self, seconds: int) -> None:
        """The clock of all parties goes on. Needs "clock"."""

    def rotate(self, party: int) -> None:
        """Make a new signed prekey; the former one is used for the declared grace. Needs "rotate"."""

    def maintain(self, party: int) -> bool:
        """Delete what is past its grace, rotate what is old; says whether it rotated. Needs "rotate"."""

    def forget(self, party: int, peer: int) -> None:
        """Lose all sessions with `peer`; the pin and the memory of base keys stay. Needs "forget"."""

    def fingerprint(self, party: int, peer: int, identity_key: bytes) -> Fingerprint:
        """The safety number of the party and of a peer with this identity key; identifiers are their names in UTF-8.

        Needs "fingerprint".
        """

    def arm_callback(self, party: int, callback: str, how: str) -> None:
        """Let the party's callback (of `CALLBACKS`) behave like that (of `ANSWERS`) once. Needs "callbacks"."""

    def be_compatible(self, party: int, option: str) -> None:
        """Open the party again with this choice of compatibility options (of `OPTIONS`). Needs "compatibility"."""

    def arm_damage(self, party: int, table: str, how: str) -> None:
        """Try the party's next operation on a copy first, in which a record is damaged. Needs "damage"."""

    def damaged(self, party: int) -> Damaged | None:
        """What became of that trial; None if there was no such record."""

    def arm_medium(self, party: int, table: str, how: str) -> None:
        """Try the party's next operation first on its store as another medium gives it back. Needs "medium"."""

    def medium(self, party: int) -> Medium | None:
        """What became of that trial; None if there was nothing to do it to."""

    def arm_fault(self, party: int, at: int, how: str) -> None:
        """Let the store refuse the `at`-th call of the party's next operation, from 14 on its commit.

        `how` is one of `STORE_FAULTS`. Needs "store-faults".
        """

    def disarm_fault(self, party: int) -> bool:
        """Take the fault back; says whether it was still armed (the operation had fewer calls)."""

    def arm_rival(self, party: int, how: str) -> None:
        """Let another process use the party's store before the party's next operation is committed.

        `how` is one of `RIVALS`. Needs "rival".
        """

    def measure_memory(self, party: int) -> None:
        """Measure the memory that the party's next operation takes. Needs "memory"."""

    def told(self, party: int) -> Told:
        """What the application heard while the party's last operation ran. Needs "events" or "callbacks"."""

    def stored(self, party: int) -> Sequence[bytes] | None:
        """The plaintexts that the party's application finds in its store, oldest first; None: it has no hook for that.

        Needs "plaintext-hook".
        """

    def texts(self, party: int) -> Sequence[tuple[str, str]]:
        """Everything textual since it was last asked for: where it was, and the text. Needs "texts"."""

    def all_secrets(self, party: int) -> Sequence[bytes]:
        """Every secret that the party ever stored. Needs "texts"."""

    def steal(self, party: int) -> Stolen:
        """Everything that the party has stored, for an attacker. Needs "compromise" (and L2)."""

    # -- groups, each named by a distribution id of 16 bytes. Needs "groups" -------------------------------------------

    def group_layout(self, group: bytes, layout: str) -> None:
        """The messages of the group have this layout (of `LAYOUTS`), for all parties. Needs both in the profile."""

    def group_create(self, party: int, group: bytes) -> bytes:
        """The party's own chain as it is now, as a distribution; the first time it is made."""

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        """Take a distribution that came from `sender`."""

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        """Encrypt on the party's own chain."""

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        """Decrypt a group message that claims to come from `sender`."""

    def group_share(self, party: int, group: bytes, plaintext: bytes) -> Shared:
        """Encrypt for all members, and the chain, on the session with it, for each that is not known to have it.

        Needs "group-share".
        """

    def group_came(self, party: int, group: bytes) -> None:
        """What the last `group_share` of the party in the group gave has come for certain. Needs "group-share"."""

    def group_rotate(self, party: int, group: bytes) -> None:
        """Begin a new chain of the party's own, with a new signing key."""

    def group_members(self, party: int, group: bytes, members: Sequence[int]) -> None:
        """Make these parties the members, who are to be given the chain through sessions."""

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        """Let the chains of `peer` go, for good."""

    def group_secrets(self, party: int) -> Sequence[bytes]:
        """L2: every 32-byte secret in what the party holds of groups."""

    def close(self) -> None:
        """End the world."""


@runtime_checkable
class Forkable(Protocol):
    """A world that can be copied, with all that is in it."""

    def fork(self) -> Self:
        """The same world once more; what is done to one of them changes nothing in the other."""


@runtime_checkable
class Telling(Protocol):
    """A world that saves the attacker work."""

    def spent(self, party: int) -> bytes | None:
        """The sending chain key (32 bytes) that the session row written last held before; None: there was none.

        A hint, for what the party has just sent. It is believed only as far as it can be computed.
        """


@runtime_checkable
class Bulk(Protocol):
    """A world that encrypts many messages at once."""

    def encrypt_all(self, party: int, peer: int, plaintext: bytes, count: int, sent: list[WireMessage]) -> None:
        """As so many calls of `World.encrypt`, up to the first that fails; or all at once, and then all or none.

        Each message is added to `sent`.
        """


@runtime_checkable
class Importing(Protocol):
    """A world into which keys can be put, as vectors do. Private keys have 32 bytes; public ones, returned, 33."""

    def import_party(
        self,
        party: int,
        *,
        name: str,
        device_id: int,
        trust_on_first_use: bool,
        identity: bytes,
        registration_id: int,
    ) -> bytes:
        """As `World.create`, with this identity and registration id. Needs "import-keys", as the next two."""

    def import_signed_prekey(self, party: int, number: int, *, private: bytes, signature: bytes) -> bytes:
        """The party's current signed prekey from now on; a former one is superseded."""

    def import_prekey(self, party: int, number: int, *, private: bytes) -> bytes:
        """One more one-time prekey of the party."""

    def inject_keys(self, party: int, keys: Sequence[bytes]) -> None:
        """The private keys that the party's next operation draws, in order. Needs "inject-keys"."""

    def import_sender_key(
        self, party: int, group: bytes, *, chain_id: int, iteration: int, chain_key: bytes, signing: bytes
    ) -> bytes:
        """The party's own chain in a group from now on; returns the public signing key. Needs "import-sender-keys"."""


class Unable:
    """The optional part of `World`, for worlds that declare none of it: asking for it is a mistake on our side."""

    def _unable(self, capability: str) -> NoReturn:
        raise HarnessBroken(f"the target does not declare {capability!r}")

    def advance(self, seconds: int) -> None:
        """See `World`."""
        self._unable("clock")

    def rotate(self, party: int) -> None:
        """See `World`."""
        self._unable("rotate")

    def maintain(self, party: int) -> bool:
        """See `World`."""
        self._unable("rotate")

    def forget(self, party: int, peer: int) -> None:
        """See `World`."""
        self._unable("forget")

    def fingerprint(self, party: int, peer: int, identity_key: bytes) -> Fingerprint:
        """See `World`."""
        self._unable("fingerprint")

    def arm_callback(self, party: int, callback: str, how: str) -> None:
        """See `World`."""
        self._unable("callbacks")

    def be_compatible(self, party: int, option: str) -> None:
        """See `World`."""
        self._unable("compatibility")

    def arm_damage(self, party: int, table: str, how: str) -> None:
        """See `World`."""
        self._unable("damage")

    def damaged(self, party: int) -> Damaged | None:
        """See `World`."""
        return None

    def arm_medium(self, party: int, table: str, how: str) -> None:
        """See `World`."""
        self._unable("medium")

    def medium(self, party: int) -> Medium | None:
        """See `World`."""
        return None

    def arm_fault(self, party: int, at: int, how: str) -> None:
        """See `World`."""
        self._unable("store-faults")

    def disarm_fault(self, party: int) -> bool:
        """See `World`."""
        return False

    def arm_rival(self, party: int, how: str) -> None:
        """See `World`."""
        self._unable("rival")

    def measure_memory(self, party: int) -> None:
        """See `World`."""
        self._unable("memory")

    def told(self, party: int) -> Told:
        """See `World`."""
        return Told()

    def stored(self, party: int) -> Sequence[bytes] | None:
        """See `World`."""
        self._unable("plaintext-hook")

    def texts(self, party: int) -> Sequence[tuple[str, str]]:
        """See `World`."""
        self._unable("texts")

    def all_secrets(self, party: int) -> Sequence[bytes]:
        """See `World`."""
        self._unable("texts")

    def steal(self, party: int) -> Stolen:
        """See `World`."""
        self._unable("compromise")

    def group_layout(self, group: bytes, layout: str) -> None:
        """See `World`."""
        self._unable("groups")

    def group_create(self, party: int, group: bytes) -> bytes:
        """See `World`."""
        self._unable("groups")

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        """See `World`."""
        self._unable("groups")

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        """See `World`."""
        self._unable("groups")

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        """See `World`."""
        self._unable("groups")

    def group_share(self, party: int, group: bytes, plaintext: bytes) -> Shared:
        """See `World`."""
        self._unable("group-share")

    def group_came(self, party: int, group: bytes) -> None:
        """See `World`."""
        self._unable("group-share")

    def group_rotate(self, party: int, group: bytes) -> None:
        """See `World`."""
        self._unable("groups")

    def group_members(self, party: int, group: bytes, members: Sequence[int]) -> None:
        """See `World`."""
        self._unable("groups")

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        """See `World`."""
        self._unable("groups")

    def group_secrets(self, party: int) -> Sequence[bytes]:
        """See `World`."""
        self._unable("groups")


class Target(Protocol):
    """An implementation under judgement."""

    @property
    def hello(self) -> Hello:
        """Who it is, what it can do, at which level it can be observed, which limits it declares."""

    def world(self, seed: int) -> World:
        """A fresh world. In process, one seed gives one transcript, byte for byte."""

    def close(self) -> None:
        """Release the target and end its processes."""
