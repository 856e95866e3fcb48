"""The other side of a store on trial: its device's peers, the messages that go both ways, and what is written down.

The peers live in this process, over memory stores, and nothing happens to them. So whatever is lost, the store lost.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pawl import Device, EncryptedMessage, Event, MemoryStore, MessageType, PreKeyBundle, ProtocolAddress, PublicKey
from pawl.errors import ProtocolError
from pawl.wire.messages import decode_prekey_message, decode_signal_message
from pawl_gate.trials.writer import bundle_in, bundle_out, message_in, message_out
from pawl_gate.trials.writers import Said, Writer
from pawl_spec.shared_store import REPEATED, SHARED, Blow, Call, End, Letter, Look, Reading, Record, Sent, Talk, judge

STORE: Final = ProtocolAddress("store", 1)
"""The address that peers know the store's device by."""

MOST_PEERS: Final = 6
"""Of more the oldest is forgotten, so that a store of many kills does not grow without end."""

RIVALS: Final = 0.25
"""How many bundles two peers use, so that two first messages name one prekey."""

MOST_SURPRISED: Final = 2
"""Steps that a campaign takes after the first surprise."""

MOST_BATCH: Final = 6
LATE: Final = 5
"""A letter is overtaken by up to so many: enough for kept keys, far below what may be kept."""


def _unheard(_: Event) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Peer:
    """One peer."""

    name: str
    device: Device = field(default_factory=lambda: Device(MemoryStore(), on_event=_unheard))
    inbox: list[tuple[int, EncryptedMessage]] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    """Numbers of what it wrote."""
    meeting: bool = False
    """Somebody was told to establish a session with it, and has not answered."""
    met: bool = False
    """The store's device has a session with it, as somebody was told."""
    hears: bool = False
    """It has a session, and can write."""
    gone: bool = False
    """Forgotten by the store, or a rival that came second: no more is said to it."""


@dataclass(slots=True)
class Post:
    """A letter on its way."""

    letter: Letter
    message: EncryptedMessage
    out: int = 0
    """How many writers have it in hand."""
    tried: bool = False
    read: bool = False
    """Somebody was told its text, or it counts as read since a call that was lost."""
    dead: bool = False
    """It names a prekey that served another."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call is about."""

    what: str
    peer: Peer | None = None
    numbers: tuple[int, ...] = ()
    """Messages to be encrypted, or letters to be read."""
    extra: int = 0
    parts: tuple[Asked, ...] = ()


Order = tuple[list[Any], Asked]
"""What a writer is told, and what that is about."""


class Traffic:
    """All that goes on around one store."""

    def __init__(self, seed: int, troubles: frozenset[str]) -> None:
        self.random = random.Random(seed)  # noqa: S311 - what happens when, no key
        self.record = Record(troubles)
        self.peers: list[Peer] = []
        """Those that have something to say or to hear; the first one for ever."""
        self._by_name: dict[str, Peer] = {}
        self.posts: dict[int, Post] = {}
        self.waiting: list[int] = []
        """Letters that were not read yet, oldest first."""
        self.stored: set[int] = set()
        """Letters whose text a look found in the store, and that the application has not deleted."""
        self.surprised = False
        """Something came that a whole store does not do: what follows would only repeat it."""
        self.counted: dict[str, int] = {}
        self._read: deque[int] = deque(maxlen=3)
        """The letters that were read last, as somebody was told."""
        self._steps = 0
        self._surprised = 0
        self._judged_next = 4
        self._in_hand: list[Post] = []
        self._messages = 0
        self._letters = 0
        self._names = 0
        self._bundle: PreKeyBundle | None = None

    def count(self, what: str, number: int = 1) -> None:
        """Count what was done or seen."""
        if number:
            self.counted[what] = self.counted.get(what, 0) + number

    def blow(self, what: str, at: int) -> None:
        """Something was killed at this time."""
        self.record.blows.append(Blow(at, what))

    def enough(self) -> bool:
        """Whether to go no further, asked after each step: what is written down by now is broken already.

        Something surprising ends it too, after a little more to see what becomes of it. The record is judged now and
        then, so that all of it together costs little more than the last time.
        """
        self._steps += 1
        self._surprised += self.surprised
        if self._steps >= self._judged_next:
            self._judged_next = self._steps * 3 // 2 + 1
            if any(trouble is not None for _, trouble in judge(self.record)):
                return True
        return self._surprised > MOST_SURPRISED

    def after_a_kill(self) -> list[Order]:
        """Letters of the call that was cut off, and those that were read last: what is lost shows here first."""
        cut = [number for number in self.due() if self.posts[number].tried]
        return [self.reading([number]) for number in (*cut, *self._read) if not self.posts[number].dead]

    def forgettable(self) -> Peer | None:
        """A peer that wrote nothing that is still to be read, and that is not the first one; the oldest."""
        unread = {self.posts[number].letter.peer for number in self.waiting if not self.posts[number].read}
        return next((peer for peer in self.met if peer is not self.peers[0] and peer.name not in unread), None)

    # -- what a writer can be told -----------------------------------------------------------------------------------

    def opening(self, kind: str, place: str, control: str | None) -> Order:
        """Open the store."""
        return ["open", kind, place, control], Asked("open")

    def encrypting(self, peer: Peer, size: int = 1) -> Order:
        """So many messages for a peer."""
        numbers = tuple(range(self._messages, self._messages + size))
        self._messages += size
        return ["encrypt", peer.name, [f"s{number}" for number in numbers]], Asked("encrypt", peer, numbers)

    def reading(self, numbers: Sequence[int]) -> Order:
        """Letters of one peer."""
        posts = [self.posts[number] for number in numbers]
        for post in posts:
            post.out += 1
            post.tried = True
        self._in_hand += posts
        peer = self.peer(posts[0].letter.peer)
        call = ["decrypt", posts[0].letter.peer, [message_out(post.message) for post in posts]]
        return call, Asked("decrypt", peer, tuple(numbers))

    def bundling(self, extra: int = 0) -> Order:
        """A bundle; or, once there was one, further prekeys alone."""
        extra = extra if self._bundle is not None else 0
        return ["bundle", extra], Asked("bundle", extra=extra)

    def establishing(self, peer: Peer) -> Order:
        """A session with a peer, from its bundle."""
        peer.meeting = True
        return ["establish", peer.name, bundle_out(peer.device.prekey_bundle())], Asked("establish", peer)

    def forgetting(self, peer: Peer) -> Order:
        """No session with a peer."""
        peer.gone = True
        self._drop_letters(peer)
        return ["forget", peer.name], Asked("forget", peer)

    def tidying(self) -> Order:
        """Texts that the application has dealt with."""
        numbers = tuple(sorted(number for number in self.stored if self.posts[number].read))
        self.stored.difference_update(numbers)
        return ["tidy", [f"r{number}" for number in numbers]], Asked("tidy", numbers=numbers)

    def looking(self) -> Order:
        """What is in the store."""
        return ["look"], Asked("look")

    def tallying(self) -> Order:
        """How often a process took a step again."""
        return ["tally"], Asked("tally")

    def together(self, orders: Sequence[Order]) -> Order:
        """Several of them at once, by threads of one process."""
        return ["together", [call for call, _ in orders]], Asked("together", parts=tuple(asked for _, asked in orders))

    # -- peers --------------------------------------------------------------------------------------------------------

    def peer(self, name: str) -> Peer:
        """The peer of this name."""
        return self._by_name[name]

    def new_peer(self) -> Peer:
        """Another peer."""
        self._names += 1
        peer = self._by_name[f"peer {self._names}"] = Peer(f"peer {self._names}")
        self.peers.append(peer)
        return peer

    @property
    def met(self) -> list[Peer]:
        """The peers that the store's device has a session with."""
        return [peer for peer in self.peers if peer.met and not peer.gone]

    def write(self, peer: Peer, count: int = 1) -> None:
        """A peer writes letters."""
        for _ in range(count):
            try:
                message = peer.device.encrypt(STORE, f"r{self._letters}".encode())
            except ProtocolError:
                self.surprised = True
                return
            session, prekey = peer.name, None
            if message.type is MessageType.PREKEY:
                first = decode_prekey_message(message.serialized)
                session, prekey, inner = first.base_key.data.hex(), first.prekey_id, first.message
            else:
                inner = decode_signal_message(message.serialized)
            letter = Letter(self._letters, peer.name, session, prekey, inner.ratchet_key.data.hex())
            self.record.letters[letter.number] = letter
            self.posts[letter.number] = Post(letter, message)
            peer.letters.append(letter.number)
            self.waiting.append(letter.number)
            self._letters += 1

    def read_inbox(self, peer: Peer, *, keep: int = 0) -> None:
        """A peer reads what came, in any order; the last ones may wait."""
        inbox, peer.inbox = peer.inbox, []
        self.random.shuffle(inbox)
        peer.inbox = inbox[len(inbox) - keep :] if keep else []
        for number, message in inbox[: len(inbox) - keep]:
            try:
                text = peer.device.decrypt(STORE, message)
                trouble = "" if text == f"s{number}".encode() else "it gives another text"
            except ProtocolError as refusal:
                trouble = f"refused as {refusal.code}"
            self.surprised |= bool(trouble)
            peer.hears |= not trouble
            self.record.readings.append(Reading(number, peer.name, time.monotonic_ns(), trouble))
            self.count("ciphertexts read by peers")

    def due(self) -> list[int]:
        """Letters to be delivered, oldest first."""
        self.waiting = [number for number in self.waiting if not (self.posts[number].read or self.posts[number].dead)]
        return [number for number in self.waiting if not self.posts[number].out]

    def _drop_letters(self, peer: Peer) -> None:
        for number in peer.letters:
            self.posts[number].dead = True

    def lay_down(self) -> None:
        """No writer has anything in hand any more: what it was told, and did not begin, is to be told again."""
        for post in self._in_hand:
            post.out = 0
        self._in_hand.clear()
        for peer in self.peers:
            peer.meeting = False
        self.peers[1:] = [peer for peer in self.peers[1:] if not peer.gone or peer.inbox]

    # -- what came of it ----------------------------------------------------------------------------------------------

    def hear(self, writer: Writer, said: Iterable[Said]) -> None:
        """Write down what a writer said, and let the peers go on with it."""
        for each in said:
            asked: Asked = each.asked
            if asked.what == "tally":
                self.count("conflicts taken again", each.value if each.how == "done" else 0)
            elif not asked.parts:
                self._take(writer.name, each)
            elif each.how == "done":
                for part, result in zip(asked.parts, each.value, strict=True):
                    self._take(writer.name, Said(part, *result))
            else:
                for part in asked.parts:
                    self._take(writer.name, replace(each, asked=part))

    def _take(self, writer: str, said: Said) -> None:
        asked: Asked = said.asked
        end, code = End(said.how), "" if said.value is None else str(said.value)
        if end is End.REFUSED and code == "outcome-unknown":
            end = End.UNKNOWN
        call = Call(
            writer,
            asked.what,
            said.began,
            said.ended,
            end,
            code if end in (End.REFUSED, End.UNKNOWN, End.FAILED) else "",
            peer="" if asked.peer is None else asked.peer.name,
            size=len(asked.numbers) if asked.what == "encrypt" else 0,
            letters=asked.numbers if asked.what in ("decrypt", "tidy") else (),
        )
        if end is End.REFUSED and code in self.record.troubles:
            self.count("refused for other writers" if code in SHARED else "refused without a server")
        elif end is End.UNKNOWN:
            self.count("outcomes unknown")
        elif end is End.LOST:
            self.count("calls cut off")
        self.count("calls")
        self.surprised |= end in (End.FAILED, End.HUNG)
        taken: Call = getattr(self, f"_took_{asked.what}")(call, asked, said.value)
        self.record.calls.append(taken)

    def _took_open(self, call: Call, asked: Asked, value: Any) -> Call:
        self.surprised |= call.end is End.REFUSED and call.code not in self.record.troubles
        return replace(call, identity=value) if call.end is End.DONE else call

    def _took_encrypt(self, call: Call, asked: Asked, value: Any) -> Call:
        peer = asked.peer
        if peer is None or call.end is not End.DONE:
            # After an `establish` that was lost there may be none; the next chance to establish is taken.
            if peer is not None and call.code == "no-session":
                peer.met = False
            return call
        sent = []
        for number, data in zip(asked.numbers, value, strict=True):
            message = message_in(data)
            inner = (
                decode_prekey_message(message.serialized).message
                if message.type is MessageType.PREKEY
                else decode_signal_message(message.serialized)
            )
            sent.append(Sent(number, inner.ratchet_key.data.hex(), inner.counter))
            peer.inbox.append((number, message))
        self.count("ciphertexts handed out", len(sent))
        return replace(call, sent=tuple(sent))

    def _took_decrypt(self, call: Call, asked: Asked, value: Any) -> Call:
        peer = asked.peer
        posts = [self.posts[number] for number in asked.numbers]
        for post in posts:
            post.out -= 1
        if call.end is End.DONE:
            self.count("letters read", len(posts))
            for post in posts:
                post.read = True
            self._read.extend(asked.numbers)
            if peer is not None:
                peer.met = True
            return replace(call, gave=tuple(_number(text) for text in value))
        if call.end is End.REFUSED and len(posts) == 1 and call.code not in self.record.troubles:
            [post] = posts
            if (post.read or post.out) and call.code in REPEATED:
                self.count("repeats refused")
            elif call.code == "duplicate-message":
                self.count("letters that counted as read")
                post.read = True
                if peer is not None:
                    peer.met = True
            elif call.code == "unknown-prekey" and not post.read and peer is not None:
                self.count("second uses of a prekey refused")
                peer.gone = True
                self._drop_letters(peer)
            elif not post.dead:
                self.surprised = True
                post.dead = True
        return call

    def _took_bundle(self, call: Call, asked: Asked, value: Any) -> Call:
        if call.end is not End.DONE:
            return call
        whole, more = value
        bundles = []
        if whole is not None:
            self._bundle = bundle_in(whole)
            bundles.append(self._bundle)
        base = self._bundle
        if base is not None:
            keys = [(id_, PublicKey.deserialize(bytes.fromhex(key))) for id_, key in more]
            bundles += [replace(base, prekey_id=id_, prekey=key) for id_, key in keys]
        self.count("prekeys handed out", len(bundles))
        for bundle in bundles:
            for _ in range(2 if self.random.random() < RIVALS else 1):
                peer = self.new_peer()
                try:
                    peer.device.establish(STORE, bundle)
                except ProtocolError:
                    # Two processes made it, each a half.
                    self.surprised = peer.gone = True
                    continue
                peer.hears = True
                self.write(peer, self.random.randint(1, 2))
        return replace(call, prekeys=tuple(bundle.prekey_id for bundle in bundles if bundle.prekey_id is not None))

    def _took_establish(self, call: Call, asked: Asked, value: Any) -> Call:
        if asked.peer is not None:
            asked.peer.meeting = False
            asked.peer.met |= call.end is End.DONE
        return call

    def _took_forget(self, call: Call, asked: Asked, value: Any) -> Call:
        return call

    def _took_tidy(self, call: Call, asked: Asked, value: Any) -> Call:
        if call.end is End.REFUSED:
            self.stored.update(asked.numbers)
        return call

    def _took_look(self, call: Call, asked: Asked, value: Any) -> Call:
        if call.end is not End.DONE:
            return call
        stored = {number: count for text, count in value["stored"].items() if (number := _number(text)) is not None}
        self.stored.update(stored)
        return replace(call, look=Look(stored, frozenset(value["prekeys"]), tuple(value["damage"])))

    # -- the end ------------------------------------------------------------------------------------------------------

    def finish(self, writer: Writer) -> None:
        """With nothing striking any more: deliver everything, look, repeat some, and let both sides talk.

        `writer` has the store open, and has nothing to do.
        """
        self.settle(writer)
        self._ask(writer, [self.looking()])
        again = [number for number, post in self.posts.items() if post.read and not post.out]
        self._ask(writer, [self.reading([number]) for number in self.random.sample(again, min(40, len(again)))])
        for peer in self.met:
            self._ask(writer, [self.encrypting(peer)])
            heard = len(self.record.readings)
            self.read_inbox(peer)
            troubles = [reading.trouble for reading in self.record.readings[heard:]]
            if peer.hears:
                self.write(peer)
            self.settle(writer)
            back = bool(peer.letters) and self.posts[peer.letters[-1]].read
            last = self.record.calls[-1]
            out = bool(troubles) and not troubles[-1]
            self.record.talks.append(Talk(peer.name, out, back, f"{troubles[-1] if troubles else ''} {last}".strip()))
        self._ask(writer, [self.looking(), self.tidying()])

    def settle(self, writer: Writer) -> None:
        """Deliver everything, letter by letter, until nothing is left; peers read all."""
        for _ in range(5):
            due = self.due()
            if not due:
                break
            self._ask(writer, [self.reading([number]) for number in due])
        for peer in self.peers:
            self.read_inbox(peer)

    def _ask(self, writer: Writer, orders: Sequence[Order]) -> None:
        for call, asked in orders:
            writer.tell(call, asked)
            while len(writer) and not writer.ended:
                self.hear(writer, writer.hear(1.0))


def _number(text: str) -> int | None:
    """The letter that a text is of."""
    return int(text[1:]) if text[:1] == "r" and text[1:].isdecimal() else None
