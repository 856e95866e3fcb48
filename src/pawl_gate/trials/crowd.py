"""The peers of a device behind a pool: who writes what, whether a result is its caller's own, and what is written down.

They live in the campaign's process, over memory stores, and nothing happens to them. So whatever is lost, doubled or
given to another caller, the pool did it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pawl import Device, EncryptedMessage, Event, MemoryStore, MessageType, ProtocolAddress, PublicKey
from pawl.errors import ProtocolError
from pawl.wire.messages import decode_prekey_message, decode_signal_message
from pawl_gate.trials.pools import PoolProcess
from pawl_gate.trials.writer import bundle_out, message_in, message_out
from pawl_spec.pool.history import Submitted
from pawl_spec.pool.life import POOLS_OWN
from pawl_spec.shared_store import REPEATED, Blow, Call, End, Letter, Reading, Record, Sent, Talk

SERVICE: Final = ProtocolAddress("service", 1)
"""The address that peers know the device by."""

MOST_BATCH: Final = 5
REMEMBERED: Final = 8
"""Letters of each peer that were read last, of which some come again."""

TROUBLES: Final = frozenset({"outcome-unknown"})
"""Closing a pool may leave an outcome unknown; nothing else is in the way of a store with one process."""

BAD_NAMES: Final = ("text", "nothing", "peer", "message", "batch", "bundle")
"""Those bad arguments that cost nothing to make; see `pool_service.BAD`."""

ENDS: Final = {
    "done": End.DONE,
    "refused": End.REFUSED,
    "unknown": End.UNKNOWN,
    "lost": End.LOST,
    "failed": End.FAILED,
}


def _unheard(_: Event) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Peer:
    """One peer."""

    name: str
    device: Device = field(default_factory=lambda: Device(MemoryStore(), on_event=_unheard))
    met: bool = False
    """The device has a session with it, as somebody was told."""
    hears: bool = False
    """It has a session, and can write."""
    due: deque[int] = field(default_factory=deque)
    """Letters that are to be delivered."""
    read: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


@dataclass(slots=True)
class _Asked:
    """What a job is about, beyond what the history says."""

    peer: Peer
    texts: tuple[str, ...] = ()
    letter: int | None = None


class Crowd:
    """All peers, their letters, and the record of the store over all lives of its pools."""

    def __init__(self, seed: int, peers: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - what happens when, no key
        self.peers = [Peer(f"peer {number}") for number in range(peers)]
        self.record = Record(TROUBLES)
        self.counted: dict[str, int] = {}
        self.identity: PublicKey | None = None
        self._jobs = 0
        self._asked: dict[int, _Asked] = {}
        self._messages: dict[int, list[Any]] = {}
        self._maybe_read: set[int] = set()
        """Letters that were read, or that a job was to read that was lost with its process."""

    def count(self, what: str, number: int = 1) -> None:
        """Count what was done or seen."""
        self.counted[what] = self.counted.get(what, 0) + number

    def opened(self, pool: PoolProcess) -> None:
        """A pool's process is up on the store."""
        now = time.monotonic_ns()
        call = Call(f"process {pool.pid}", "open", now, now, End.DONE, identity=pool.identity)
        self.record.calls.append(call)

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def establish(self, pool: PoolProcess, peer: Peer) -> None:
        """A session with a peer."""
        self._submit(pool, "establish", peer, bundle_out(peer.device.prekey_bundle()), size=512)

    def encrypt(
        self,
        pool: PoolProcess,
        peer: Peer,
        size: int = 1,
        *,
        mark: str = "",
        padding: int = 0,
        poison: bool | None = None,
    ) -> None:
        """So many texts for a peer; `mark` is a trigger of the faulty worker, which makes it poison unless said."""
        texts = tuple(f"{mark}s{self._jobs + 1}.{place}" + " " * padding for place in range(size))
        total = sum(map(len, texts))
        self._submit(
            pool, "encrypt", peer, list(texts), size=total, texts=texts, poison=bool(mark) if poison is None else poison
        )

    def decrypt(self, pool: PoolProcess, peer: Peer, letter: int) -> None:
        """A letter of a peer's, which may have been read."""
        message = self._messages[letter]
        may = REPEATED if letter in self._maybe_read else ()
        self._submit(pool, "decrypt", peer, message, size=len(message[1]) // 2, letter=letter, may=may)

    def verify(self, pool: PoolProcess, peer: Peer) -> None:
        """A bundle's signature."""
        self._submit(pool, "verify", peer, bundle_out(peer.device.prekey_bundle(one_time=False)), size=512)

    def bad(self, pool: PoolProcess, peer: Peer, how: str) -> None:
        """A bad argument."""
        self._submit(pool, "bad", peer, how, good=False)

    def _submit(
        self,
        pool: PoolProcess,
        what: str,
        peer: Peer,
        argument: Any,
        *,
        size: int = 0,
        texts: tuple[str, ...] = (),
        letter: int | None = None,
        **more: Any,
    ) -> None:
        self._jobs += 1
        self._asked[self._jobs] = _Asked(peer, texts, letter)
        lane = peer.name if what in ("encrypt", "decrypt", "establish") else ""
        pool.submit(Submitted(0, self._jobs, what, lane, size, **more), what, peer.name, argument)
        self.count("jobs")

    def write(self, peer: Peer, count: int = 1) -> None:
        """A peer writes letters."""
        for _ in range(count):
            message = peer.device.encrypt(SERVICE, f"r{len(self.record.letters)}".encode())
            session, prekey = peer.name, None
            if message.type is MessageType.PREKEY:
                first = decode_prekey_message(message.serialized)
                session, prekey, inner = first.base_key.data.hex(), first.prekey_id, first.message
            else:
                inner = decode_signal_message(message.serialized)
            number = len(self.record.letters)
            self.record.letters[number] = Letter(number, peer.name, session, prekey, inner.ratchet_key.data.hex())
            self._messages[number] = message_out(message)
            peer.due.append(number)

    # -- what came of them --------------------------------------------------------------------------------------------

    def ended(self, job: Submitted, how: str, value: Any, at: int) -> dict[str, Any]:
        """See `OnEnd`."""
        asked = self._asked.pop(job.job)
        code = value if how == "refused" else ""
        self.count(
            {"done": "results", "lost": "jobs lost with their process", "unknown": "outcomes unknown"}.get(how, how)
        )
        if how == "refused":
            self.count(f"refused: {code}")
        if job.what in ("encrypt", "decrypt", "establish") and code not in POOLS_OWN and how != "cancelled":
            call = Call(
                "pool",
                job.what,
                job.at,
                at,
                ENDS[how],
                "" if how in ("done", "lost") else str(value),
                peer=asked.peer.name,
                size=len(asked.texts),
                letters=() if asked.letter is None else (asked.letter,),
                gave=(_number(value, "r"),) if how == "done" and job.what == "decrypt" else (),
                sent=self._sent(job, value) if how == "done" and job.what == "encrypt" else (),
            )
            self.record.calls.append(call)
        took = getattr(self, f"_{job.what}", None)
        return {} if took is None else took(job, asked, how, value)

    def _sent(self, job: Submitted, value: Sequence[list[Any]]) -> tuple[Sent, ...]:
        sent = []
        for place, data in enumerate(value):
            inner = _inner(message_in(data))
            sent.append(Sent(job.job * (MOST_BATCH + 1) + place, inner.ratchet_key.data.hex(), inner.counter))
        return tuple(sent)

    def _encrypt(self, job: Submitted, asked: _Asked, how: str, value: Any) -> dict[str, Any]:
        if how != "done":
            return {"count": len(asked.texts)}
        sent = self.record.calls[-1].sent
        gave: int | None = job.job
        if len(sent) != len(asked.texts):
            # The result of another job: none of it is for this caller.
            return {"gave": -1, "count": len(asked.texts)}
        for text, each, data in zip(asked.texts, sent, value, strict=True):
            trouble, heard = "", None
            try:
                heard = asked.peer.device.decrypt(SERVICE, message_in(data)).decode()
                trouble = "" if heard == text else "it gives another text"
                asked.peer.hears = True
            except ProtocolError as refusal:
                trouble = f"refused as {refusal.code}"
            if trouble:
                # Whose it is: the job that the text names, or nobody's.
                whose = None if heard is None else _number(heard.split(".")[0], "s")
                gave = -1 if whose is None else whose
            self.record.readings.append(Reading(each.message, asked.peer.name, time.monotonic_ns(), trouble))
        self.count("ciphertexts handed out and read", len(sent))
        return {"gave": gave, "chain": sent[0].chain, "counter": sent[0].counter, "count": len(sent)}

    def _decrypt(self, job: Submitted, asked: _Asked, how: str, value: Any) -> dict[str, Any]:
        letter = asked.letter
        if letter is None:
            return {}
        known = letter in self._maybe_read
        if how == "lost":
            self._maybe_read.add(letter)
        if how == "done" or (known and value in REPEATED):
            asked.peer.read.append(letter)
            self._maybe_read.add(letter)
            asked.peer.met = True
            self.count("letters read" if how == "done" else "repeats refused")
        elif letter not in asked.peer.read:
            # To be delivered again: it was not read, or nobody knows.
            asked.peer.due.append(letter)
        if how != "done":
            return {}
        return {"gave": job.job if _number(value, "r") == letter else -1}

    def _verify(self, job: Submitted, asked: _Asked, how: str, value: Any) -> dict[str, Any]:
        own = asked.peer.device.identity_key.serialize().hex()
        return {"gave": job.job if value == own else -1} if how == "done" else {}

    def _establish(self, job: Submitted, asked: _Asked, how: str, value: Any) -> dict[str, Any]:
        asked.peer.met |= how == "done"
        return {}

    @property
    def met(self) -> list[Peer]:
        """The peers that the device has a session with."""
        return [peer for peer in self.peers if peer.met]

    def meet(self, pool: PoolProcess, seconds: float) -> None:
        """A session with each peer that there is none with yet."""
        for peer in self.peers:
            if not peer.met:
                self.establish(pool, peer)
        pool.hear_until(lambda: not pool.open, seconds)

    # -- what goes on -------------------------------------------------------------------------------------------------

    def next(self, pool: PoolProcess) -> None:
        """A job of any peer's that the device has a session with, by chance."""
        chance, peer = self.random, self.random.choice(self.met)
        dice = chance.random()
        if dice < 0.02:
            self.bad(pool, peer, chance.choice(BAD_NAMES))
        elif dice < 0.04:
            self.verify(pool, peer)
        elif dice < 0.07 and peer.read:
            self.decrypt(pool, peer, chance.choice(peer.read))
        elif dice < 0.40 and (peer.due or peer.hears):
            if not peer.due:
                self.write(peer, chance.randint(1, 3))
            # Letters overtake each other.
            peer.due.rotate(chance.randrange(len(peer.due)))
            self.decrypt(pool, peer, peer.due.popleft())
        else:
            size = chance.randint(2, MOST_BATCH) if chance.random() < 0.1 else 1
            self.encrypt(pool, peer, size, padding=chance.choice((0, 16, 200)))

    def flood(self, pool: PoolProcess, count: int) -> None:
        """So many jobs at once, one after the other of different peers."""
        met = self.met
        for number in range(count):
            self.encrypt(pool, met[number % len(met)])

    def talk(self, pool: PoolProcess, seconds: float) -> None:
        """With nothing striking any more: everything is delivered, and both sides of each session hear each other."""
        for peer in self.peers:
            while peer.due:
                self.decrypt(pool, peer, peer.due.popleft())
        pool.hear_until(lambda: not pool.open, seconds)
        for peer in self.peers:
            if peer.met:
                self.encrypt(pool, peer)
        pool.hear_until(lambda: not pool.open, seconds)
        last: dict[str, int] = {}
        for peer in self.peers:
            if peer.hears:
                self.write(peer)
                last[peer.name] = peer.due[-1]
                while peer.due:
                    self.decrypt(pool, peer, peer.due.popleft())
        pool.hear_until(lambda: not pool.open, seconds)
        troubles = {reading.peer: reading.trouble for reading in self.record.readings}
        read = {call.letters[0] for call in self.record.calls if call.what == "decrypt" and call.end is End.DONE}
        for peer in self.peers:
            if peer.met:
                trouble = troubles.get(peer.name, "it never heard anything")
                self.record.talks.append(Talk(peer.name, not trouble, last.get(peer.name) in read, trouble))
        self.count("sessions that still talk", sum(talk.out and talk.back for talk in self.record.talks))

    def blow(self, what: str) -> None:
        """The process of the pool was killed."""
        self.record.blows.append(Blow(time.monotonic_ns(), what))


def _inner(message: EncryptedMessage) -> Any:
    if message.type is MessageType.PREKEY:
        return decode_prekey_message(message.serialized).message
    return decode_signal_message(message.serialized)


def _number(text: str, kind: str) -> int | None:
    """The number in a text such as `r12`."""
    stripped = text.rstrip(" ")
    return int(stripped[1:]) if stripped[:1] == kind and stripped[1:].isdecimal() else None
