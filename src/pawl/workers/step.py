"""What a worker does: it runs the steps of a device, the very same ones, over the rows that it was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from pawl.address import ProtocolAddress
from pawl.compatibility import Compatibility
from pawl.crypto.keys import PublicKey
from pawl.device import Device
from pawl.device_base import Decided, Undecided
from pawl.errors import ProtocolError, UntrustedIdentity
from pawl.events import Event, IdentityRejected
from pawl.fingerprint import safety_number
from pawl.group.received import GroupMemos
from pawl.group_device import Group
from pawl.identity import Decision, IdentityPolicy
from pawl.session.bundle import PreKeyBundle
from pawl.session.rows import Memos
from pawl.sources import draw, system_rng
from pawl.storage.contract import Row
from pawl.wire import records
from pawl.wire.group_messages import GroupLayout
from pawl.wire.messages import EncryptedMessage, MessageType
from pawl.workers import messages
from pawl.workers.messages import BUG, DONE, NEEDS, REFUSED, SKIPPED, UNDECIDED, WRAP
from pawl.workers.view import Missing, Recording, Span, View

T = TypeVar("T")

LAYOUTS: Final = tuple(GroupLayout)
"""A layout's number in messages is its place here."""


class NeedsIdentity(BaseException):
    """A step needs this device's identity, which was not sent: most steps do not (KEY-06)."""


class NeedsWrap(BaseException):
    """A distribution is to be put into the application's envelope, which only the parent can do."""

    def __init__(self, distribution: bytes) -> None:
        super().__init__()
        self.distribution = distribution


class Drawn:
    """Randomness of the operating system; first of all what an earlier run of the same job drew."""

    def __init__(self, again: Sequence[bytes]) -> None:
        self._again = list(again)
        self.drawn: list[bytes] = []

    def __call__(self, length: int) -> bytes:
        """`length` bytes."""
        if self._again and len(self._again[0]) == length:
            made = self._again.pop(0)
        else:
            self._again.clear()
            made = draw(system_rng, length)
        self.drawn.append(made)
        return made


def _asked(*_: object) -> NoReturn:
    raise AssertionError("the parent asks")


def _policy(trust: bool, first_use: bool, mismatch: bool) -> IdentityPolicy:
    """A policy that decides as the parent's as far as nobody is asked; whatever else is `Undecided`."""

    def ask_mismatch(name: str, pinned: PublicKey, key: PublicKey) -> Decision:
        _asked()

    def ask_first_use(name: str, key: PublicKey) -> bool:
        _asked()

    return IdentityPolicy(
        trust_on_first_use=trust,
        on_first_use=ask_first_use if first_use else None,
        on_mismatch=ask_mismatch if mismatch else None,
    )


class StepDevice(Device):
    """A device over the rows of one batch: it has no store of its own, and asks nobody."""

    def __init__(self, config: tuple[Any, ...], identity: bytes | None) -> None:
        # Not as its parent class does: there is nothing to open.
        trust, first_use, mismatch, zero, untyped, registration_id, now = config
        self._policy = _policy(trust, first_use, mismatch)
        self._compatibility = Compatibility(zero, untyped)
        self._on_event = None
        self._hook = None
        self._registration_id = registration_id
        self._clock = lambda: now
        self._memos = Memos()
        self._group_memos = GroupMemos()
        self._decided: Decided | None = None
        self.told: list[Event] = []
        if identity is not None:
            self._identity = records.decode_local_identity(identity).pair

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there: so nobody saw a need to send it.
        if name == "_identity":
            raise NeedsIdentity
        raise AttributeError(name)

    def take(self, recording: Recording, rng: Drawn, decided: Decided | None) -> None:
        """The next job's store, randomness and decision."""
        self._store, self._rng, self._decided, self.told = recording, rng, decided, []

    def _tell(self, events: Sequence[Event]) -> None:
        self.told += events

    def _with_decision(self, name: str, key: PublicKey, step: Callable[[Decided | None], T]) -> T:
        decided = self._decided
        if decided is None and self._policy.trusts_unasked:
            decided = Decided(None, "first-use")
        try:
            try:
                return step(decided)
            except Undecided:
                if self._decided is not None:
                    raise UntrustedIdentity("the pinned identity changed while the policy was asked") from None
                raise
        except UntrustedIdentity:
            self._tell([IdentityRejected(name, key, self.pinned_identity(name))])
            raise


# -- operations: plain arguments in, a plain result out ---------------------------------------------------------------


def _message(value: Any) -> EncryptedMessage:
    kind, serialized = value
    return EncryptedMessage(MessageType(kind), serialized)


def _plain(message: EncryptedMessage) -> list[object]:
    return [int(message.type), message.serialized]


def bundle_values(bundle: PreKeyBundle) -> list[object]:
    """A bundle, as it is sent."""
    return [
        bundle.registration_id,
        bundle.device_id,
        bundle.identity_key.serialize(),
        bundle.signed_prekey_id,
        bundle.signed_prekey.serialize(),
        bundle.signed_prekey_signature,
        bundle.prekey_id,
        None if bundle.prekey is None else bundle.prekey.serialize(),
    ]


def _bundle(value: Any) -> PreKeyBundle:
    registration_id, device_id, identity, signed_id, signed, signature, prekey_id, prekey = value
    return PreKeyBundle(
        registration_id=registration_id,
        device_id=device_id,
        identity_key=PublicKey.deserialize(identity),
        signed_prekey_id=signed_id,
        signed_prekey=PublicKey.deserialize(signed),
        signed_prekey_signature=signature,
        prekey_id=prekey_id,
        prekey=None if prekey is None else PublicKey.deserialize(prekey),
    )


def _establish(device: StepDevice, name: str, device_id: int, bundle: Any) -> None:
    device.establish(ProtocolAddress(name, device_id), _bundle(bundle))


def _encrypt(device: StepDevice, name: str, device_id: int, plaintext: bytes) -> object:
    return _plain(device.encrypt(ProtocolAddress(name, device_id), plaintext))


def _encrypt_many(device: StepDevice, name: str, device_id: int, plaintexts: Any) -> object:
    return [_plain(each) for each in device.encrypt_many(ProtocolAddress(name, device_id), plaintexts)]


def _decrypt(device: StepDevice, name: str, device_id: int, message: Any) -> object:
    return device.decrypt(ProtocolAddress(name, device_id), _message(message))


def _decrypt_many(device: StepDevice, name: str, device_id: int, given: Any) -> object:
    return device.decrypt_many(ProtocolAddress(name, device_id), [_message(each) for each in given])


def _group(device: StepDevice, group: bytes, layout: int, wrapped: Any = None) -> Group:
    envelopes = {} if wrapped is None else dict(wrapped)

    def wrap(distribution: bytes) -> bytes:
        try:
            found: bytes = envelopes[distribution]
        except KeyError:
            raise NeedsWrap(distribution) from None
        return found

    return Group(
        device,
        UUID(bytes=group),
        layout=LAYOUTS[layout],
        wrap=None if wrapped is None else wrap,
        store_plaintext=None,
    )


def _group_send(device: StepDevice, group: bytes, layout: int, plaintext: bytes, wrapped: Any = None) -> object:
    sent = _group(device, group, layout, wrapped).send(plaintext)
    return [
        [[each.peer.name, each.peer.device_id, _plain(each.message), each.chain_id] for each in sent.distributions],
        sent.message,
    ]


def _group_encrypt(device: StepDevice, group: bytes, layout: int, plaintext: bytes) -> object:
    return _group(device, group, layout).encrypt(plaintext)


def _group_decrypt(device: StepDevice, group: bytes, layout: int, name: str, device_id: int, message: bytes) -> object:
    return _group(device, group, layout).decrypt(ProtocolAddress(name, device_id), message)


def _group_process(
    device: StepDevice, group: bytes, layout: int, name: str, device_id: int, distribution: bytes
) -> None:
    _group(device, group, layout).process(ProtocolAddress(name, device_id), distribution)


def _safety_number(
    device: StepDevice, local: bytes, local_key: bytes, remote: bytes, remote_key: bytes, version: int
) -> object:
    made = safety_number(
        local_identifier=local,
        local_key=PublicKey.deserialize(local_key),
        remote_identifier=remote,
        remote_key=PublicKey.deserialize(remote_key),
        version=version,
    )
    return [made.version, made.local, made.remote]


def _verify_bundle(device: StepDevice, bundle: Any) -> None:
    _bundle(bundle).verify()


OPERATIONS: Final[dict[str, Callable[..., object]]] = {
    "establish": _establish,
    "encrypt": _encrypt,
    "encrypt_many": _encrypt_many,
    "decrypt": _decrypt,
    "decrypt_many": _decrypt_many,
    "group_send": _group_send,
    "group_encrypt": _group_encrypt,
    "group_decrypt": _group_decrypt,
    "group_process": _group_process,
    "safety_number": _safety_number,
    "verify_bundle": _verify_bundle,
}
"""By the name under which they are sent."""


# -- a batch ----------------------------------------------------------------------------------------------------------


def run_job(device: StepDevice, view: View, job: Sequence[Any]) -> list[object]:
    """One job's answer, as it is sent; what it wrote is in `view` then."""
    number, _, operation, arguments, decided, drawn = job
    recording, rng = Recording(view), Drawn(drawn)
    device.take(recording, rng, None if decided is None else _decided(decided))
    try:
        result = OPERATIONS[operation](device, *arguments)
    except Missing as missing:
        return [number, NEEDS, list(missing.query)]
    except NeedsIdentity:
        return [number, NEEDS, None]
    except NeedsWrap as needs:
        return [number, WRAP, needs.distribution, rng.drawn]
    except Undecided as undecided:
        pinned = None if undecided.pinned is None else undecided.pinned.serialize()
        return [number, UNDECIDED, pinned, [list(each) for each in recording.asked]]
    except ProtocolError as refusal:
        answer: list[object] = [number, REFUSED, messages.show_refusal(refusal)]
    except Exception as error:
        # A bug. Its text may hold anything (KEY-06).
        return [number, BUG, type(error).__name__]
    else:
        answer = [number, DONE, result]
    writes = recording.writes()
    view.apply(writes)
    answer += [list(recording.asked), writes, [messages.show_event(each) for each in device.told]]
    return answer


def _decided(value: Any) -> Decided:
    pinned, how = value
    return Decided(None if pinned is None else PublicKey.deserialize(pinned), how)


def read_batch(batch: Any) -> tuple[StepDevice, View, Sequence[Any]]:
    """The device, what it sees, and the jobs."""
    _, config, identity, rows, spans, counts, jobs = batch
    view = View()
    for table, key, version, value in rows:
        view.rows[table, key] = Row(value, version) if version else None
    for table, prefix, complete, keys in spans:
        view.spans[table, prefix] = Span(list(keys), complete)
    for table, prefix, count in counts:
        view.counts[table, prefix] = count
    return StepDevice(config, identity), view, jobs


RunJob = Callable[[StepDevice, View, Sequence[Any]], list[object]]


def run_batch(batch: Any, run: RunJob = run_job) -> list[Any]:
    """The answer to a batch: its jobs are run one after another, those of one lane not past one that has to wait."""
    device, view, jobs = read_batch(batch)
    waiting = set()
    answers: list[object] = []
    for job in jobs:
        lane = job[1]
        if lane in waiting:
            answers.append([job[0], SKIPPED])
            continue
        answer = run(device, view, job)
        if answer[1] in (NEEDS, UNDECIDED, WRAP, BUG):
            # What it would have written is not there for the next one.
            waiting.add(lane)
        answers.append(answer)
    return [batch[0], answers]
