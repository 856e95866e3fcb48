"""Recording: a trace runs on Pawl, and what each party was asked and drew is written down as the steps of a vector.

What must come of a step is the model's word. Where Pawl did otherwise, or the model takes either answer for right,
there is no vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pawl.crypto.keys import KeyPair, PrivateKey, clamp
from pawl.sources import Rng
from pawl.storage.contract import Store
from pawl_gate.group_wire import SIGNATURE_BYTES
from pawl_gate.runner import Run
from pawl_gate.targets.base import Bundle, Refused, WireMessage
from pawl_gate.targets.inprocess import HELLO, InProcessWorld
from pawl_gate.targets.variant import DeviceLike, Setup, Variant, open_device
from pawl_spec.history import Event, History, Outcome, Profile
from pawl_spec.judge import judge
from pawl_spec.model import Expect, expectations
from pawl_spec.trace import PARTIES, Kind, Op, op
from pawl_spec.vector_operations import GROUP_OPERATIONS
from pawl_spec.vectors import LONG_BYTES, Digest, Draw, Step

KEY_BYTES = 32


class Disagreement(Exception):
    """Model and Pawl are not at one on a trace, or the model allows either answer: it makes no vector."""


class _Tapped(Variant):
    """Pawl as it is; every draw of a device is noted in `drawn`."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []

    def device(self, store: Store, setup: Setup) -> DeviceLike:
        """See `Variant`."""
        return open_device(store, replace(setup, rng=self._noted(setup.rng)))

    def _noted(self, rng: Rng) -> Rng:
        def draw(size: int) -> bytes:
            data = rng(size)
            self.drawn.append(data)
            return data

        return draw


class RecordedWorld(InProcessWorld):
    """A world of Pawl that writes down what it is asked."""

    def __init__(self, seed: int) -> None:
        self._tap = _Tapped()
        super().__init__(self._tap, seed)
        self.steps: list[Step] = []
        self._setups: dict[int, tuple[str, int, bool]] = {}

    # -- setting up ---------------------------------------------------------------------------------------------------

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        """See `World`."""
        self._setups[party] = (name, device_id, trust_on_first_use)
        self._tap.drawn.clear()
        key = super().create(party, name=name, device_id=device_id, trust_on_first_use=trust_on_first_use)
        self._created(party, key)
        return key

    def reinstall(self, party: int) -> bytes:
        """See `World`."""
        self._tap.drawn.clear()
        key = super().reinstall(party)
        self._created(party, key)
        return key

    def _created(self, party: int, key: bytes) -> None:
        (identity,) = self._keys()
        name, device_id, trust = self._setups[party]
        # Its signed prekey is made at once, so that whoever plays it has one from the start.
        self._tap.drawn.clear()
        made = super().bundle(party, one_time=False)
        inputs = {
            "name": name,
            "deviceId": device_id,
            "trustOnFirstUse": trust,
            "identityPrivate": identity,
            "registrationId": made.registration_id,
        }
        self._note("create", party, inputs, {"identityKey": key})
        self._signed_prekey(party, made)

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        """See `World`."""
        self._tap.drawn.clear()
        made = super().bundle(party, one_time=one_time)
        if one_time:
            (private,) = self._keys()
            self._note("prekey", party, {"id": made.prekey_id, "private": private}, {"publicKey": made.prekey})
        return made

    def rotate(self, party: int) -> None:
        """See `World`."""
        self._tap.drawn.clear()
        super().rotate(party)
        # Says which one it is; it makes nothing.
        self._signed_prekey(party, super().bundle(party, one_time=False))

    def _signed_prekey(self, party: int, made: Bundle) -> None:
        (private,) = self._keys()
        inputs = {"id": made.signed_prekey_id, "private": private, "signature": made.signature}
        self._note("signed-prekey", party, inputs, {"publicKey": made.signed_prekey})

    # -- sessions -----------------------------------------------------------------------------------------------------

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        """See `World`."""
        self._tap.drawn.clear()
        inputs = {"peer": PARTIES[peer], "bundle": bundle_to_fields(bundle)}
        try:
            super().establish(party, peer, bundle)
        except Refused as refused:
            self._refused("establish", party, inputs, refused)
            raise
        self._note("establish", party, inputs, {}, ("base", "ratchet"))

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        """See `World`."""
        inputs = {"peer": PARTIES[peer], "plaintext": plaintext}
        try:
            message = super().encrypt(party, peer, plaintext)
        except Refused as refused:
            self._refused("encrypt", party, inputs, refused)
            raise
        self._note("encrypt", party, inputs, {"type": message.kind, "message": shortened(message.data)})
        return message

    def encrypt_all(self, party: int, peer: int, plaintext: bytes, count: int, sent: list[WireMessage]) -> None:
        """See `Bulk`."""
        for _ in range(count):
            sent.append(self.encrypt(party, peer, plaintext))

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        """See `World`."""
        self._tap.drawn.clear()
        inputs = {"peer": PARTIES[peer], "type": message.kind, "message": message.data}
        try:
            plaintext = super().decrypt(party, peer, message)
        except Refused as refused:
            self._refused("decrypt", party, inputs, refused)
            raise
        draws = ("ratchet",) if self._tap.drawn else ()
        self._note("decrypt", party, inputs, {"plaintext": shortened(plaintext)}, draws)
        return plaintext

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        """See `World`."""
        super().approve(party, peer, identity_key)
        self._note("trust", party, {"peer": PARTIES[peer], "identityKey": identity_key}, {})

    def forget(self, party: int, peer: int) -> None:
        """See `World`."""
        super().forget(party, peer)
        self._note("forget", party, {"peer": PARTIES[peer]}, {})

    def restart(self, party: int) -> None:
        """See `World`."""
        super().restart(party)
        self._note("restart", party, {}, {})

    def be_compatible(self, party: int, option: str) -> None:
        """See `World`."""
        # The profile says it; what opens the device again is no step of its own.
        steps = list(self.steps)
        super().be_compatible(party, option)
        self.steps = steps

    def advance(self, seconds: int) -> None:
        """See `World`."""
        super().advance(seconds)
        self.steps.append(Step("advance", None, {"seconds": seconds}, output={}))

    # -- groups -------------------------------------------------------------------------------------------------------

    def group_create(self, party: int, group: bytes) -> bytes:
        """See `World`."""
        self._tap.drawn.clear()
        data = super().group_create(party, group)
        self._chain_made(party, group)
        self._note("distribution", party, {"group": group}, {"distribution": data})
        return data

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        """See `World`."""
        inputs = {"group": group, "sender": PARTIES[sender], "distribution": distribution}
        try:
            super().group_join(party, sender, group, distribution)
        except Refused as refused:
            self._refused("process", party, inputs, refused)
            raise
        self._note("process", party, inputs, {})

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        """See `World`."""
        inputs = {"group": group, "plaintext": plaintext}
        try:
            message = super().group_encrypt(party, group, plaintext)
        except Refused as refused:
            self._refused("group-encrypt", party, inputs, refused)
            raise
        self._note("group-encrypt", party, inputs, {"signed": shortened(message[:-SIGNATURE_BYTES])})
        return message

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        """See `World`."""
        inputs = {"group": group, "sender": PARTIES[sender], "message": message}
        try:
            plaintext = super().group_decrypt(party, sender, group, message)
        except Refused as refused:
            self._refused("group-decrypt", party, inputs, refused)
            raise
        self._note("group-decrypt", party, inputs, {"plaintext": shortened(plaintext)})
        return plaintext

    def group_rotate(self, party: int, group: bytes) -> None:
        """See `World`."""
        self._tap.drawn.clear()
        super().group_rotate(party, group)
        # The new chain itself is the step: a target is given it.
        self._chain_made(party, group)

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        """See `World`."""
        super().group_forget(party, peer, group)
        self._note("forget-sender", party, {"group": group, "sender": PARTIES[peer]}, {})

    def _chain_made(self, party: int, group: bytes) -> None:
        """The chain that was begun, if one was: its id, its key and the key that signs were drawn."""
        if not self._tap.drawn:
            return
        chain_id, chain_key, signing = self._tap.drawn[-3:]
        pair = KeyPair.from_private(PrivateKey(clamp(signing)))
        inputs = {
            "group": group,
            "chainId": int.from_bytes(chain_id, "big") >> 1,
            "iteration": 0,
            "chainKey": chain_key,
            "signingPrivate": pair.private.data,
        }
        self._note("sender-key", party, inputs, {"signingKey": pair.public.serialize()})

    # -- notes --------------------------------------------------------------------------------------------------------

    def _keys(self) -> list[bytes]:
        """The private keys that were drawn. A registration id and the nonce of a signature have other sizes."""
        return [clamp(each) for each in self._tap.drawn if len(each) == KEY_BYTES]

    def _note(
        self,
        operation: str,
        party: int,
        inputs: Mapping[str, object],
        output: Mapping[str, object],
        draws: tuple[str, ...] = (),
    ) -> None:
        drawn = [Draw(name, key) for name, key in zip(draws, self._keys(), strict=True)] if draws else []
        self.steps.append(Step(operation, PARTIES[party], inputs, tuple(drawn), output))

    def _refused(self, operation: str, party: int, inputs: Mapping[str, object], refused: Refused) -> None:
        self.steps.append(Step(operation, PARTIES[party], inputs, refusal=(refused.code,)))


def bundle_to_fields(bundle: Bundle) -> dict[str, object]:
    """A bundle as the input of a step."""
    return {
        "registrationId": bundle.registration_id,
        "deviceId": bundle.device_id,
        "identityKey": bundle.identity_key,
        "signedPreKeyId": bundle.signed_prekey_id,
        "signedPreKey": bundle.signed_prekey,
        "signature": bundle.signature,
        "preKeyId": bundle.prekey_id,
        "preKey": bundle.prekey,
    }


def shortened(data: bytes) -> bytes | Digest:
    """An expected output: its digest where it is long."""
    return data if len(data) < LONG_BYTES else Digest.of(data)


class _Recorder:
    """A target whose one world is recorded."""

    hello = HELLO

    def world(self, seed: int) -> RecordedWorld:
        """See `Target`."""
        self.made = RecordedWorld(seed)
        return self.made

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Steps, and the invariants that a wrong answer to one of them breaks."""

    steps: tuple[Step, ...]
    invariants: tuple[str, ...]
    assumes: dict[str, str | int]
    """Behaviour that targets may rightly choose, where another choice would make another answer right."""


JUDGED = frozenset(
    {
        *("establish", "encrypt", "decrypt"),
        *("distribution", "process", "group-encrypt", "group-decrypt", "share"),
    }
)
"""Operations of which the model says what must come of them."""

RECORDED = frozenset(
    {
        *(Kind.ESTABLISH, Kind.FORGE_BUNDLE, Kind.SEND, Kind.BURST, Kind.DELIVER, Kind.DUPLICATE, Kind.DROP),
        *(Kind.REPLAY, Kind.TAMPER, Kind.REDIRECT, Kind.INJECT, Kind.REINSTALL, Kind.APPROVE, Kind.RESTART),
        *(Kind.CLOCK, Kind.ROTATE, Kind.FORGET, Kind.COMPATIBILITY, Kind.NOP, Kind.INSPECT),
        *(Kind.GROUP_CREATE, Kind.GROUP_JOIN, Kind.GROUP_SEND, Kind.GROUP_DELIVER, Kind.GROUP_ROTATE),
        *(Kind.GROUP_FORGET, Kind.GROUP_TAMPER, Kind.GROUP_REDIRECT, Kind.GROUP_SMUGGLE, Kind.GROUP_CRAFT),
        Kind.GROUP_LAYOUT,
    }
)
"""Operations of a trace that a vector can hold. The others happen inside one party, or are seen by the gate alone."""


def record(ops: Sequence[Op], *, seed: int, strict: int = 0, recover: bool = False) -> Recorded:
    """Run a trace. `recover`: where its last operation was refused, the first message in flight is delivered after it.

    Raises: Disagreement.
    """
    for each in ops:
        if each.kind not in RECORDED:
            raise Disagreement(f"{each}: no step of a vector")
    recorder = _Recorder()
    run = Run(recorder, seed=seed, strict=strict)
    spans: list[slice] = []
    for each in ops:
        _step(run, recorder, each, spans)
    if recover and run.history.events[-1].outcome is Outcome.REFUSED:
        _step(run, recorder, op(Kind.DELIVER), spans)
    history = run.finish(closing=False)
    broken, _ = judge(history)
    if broken:
        raise Disagreement(f"{broken[0].invariant.id}: {broken[0].violation.what}")
    steps = list(recorder.made.steps)
    rules: set[str] = set()
    for event, expect, span in zip(history.events, expectations(history), spans, strict=True):
        for at in range(*span.indices(len(steps))):
            if steps[at].operation in JUDGED:
                rules.add(_agree(event, expect, steps[at]))
                steps[at] = _with_codes(steps[at], expect)
    return Recorded(_only_needed(_skips(steps)), tuple(sorted(rules)), _chosen(history))


OTHER_CHOICES: dict[str, tuple[Profile, ...]] = {
    "promotes": tuple(replace(HELLO.profile, promotes=other) for other in ("always", "never")),
    "closes_chains": (replace(HELLO.profile, closes_chains=True),),
    "needs_one_time": (replace(HELLO.profile, needs_one_time=True),),
}
"""By name of a choice in a target's profile: Pawl's profile with what others choose."""


def _chosen(history: History) -> dict[str, str | int]:
    """The choices on which the answers depend, with Pawl's."""
    right = _answers(history)
    # Who needs a one-time prekey has no answer at all to a bundle without.
    without = any(event.op.kind is Kind.ESTABLISH and not event.op["one_time"] for event in history.events)
    return {
        name: getattr(HELLO.profile, name)
        for name, others in OTHER_CHOICES.items()
        if (name == "needs_one_time" and without)
        or any(_answers(replace(history, target=replace(HELLO, profile=other))) != right for other in others)
    }


def _answers(history: History) -> list[object]:
    """What the model takes for right, event by event."""
    return [
        None if each is None else (each.accept, each.codes, each.plaintext, each.header)
        for each in expectations(history)
    ]


def _step(run: Run, recorder: _Recorder, operation: Op, spans: list[slice]) -> None:
    start = len(recorder.made.steps)
    event = run.step(operation)
    if event.outcome in (Outcome.DIED, Outcome.HUNG):
        raise Disagreement(f"{operation}: {event.text}")
    if event.outcome is Outcome.SKIPPED and operation.kind in (Kind.TAMPER, Kind.GROUP_TAMPER, Kind.GROUP_SMUGGLE):
        raise Disagreement(f"{operation}: it does not concern the message")
    spans.append(slice(start, len(recorder.made.steps)))


def _agree(event: Event, expect: Expect | None, step: Step) -> str:
    """The invariant at stake in a step on which model and Pawl agree. Raises: Disagreement."""
    if expect is None or expect.accept is None:
        raise Disagreement(f"step {event.step}, {event.op}: the model allows either answer")
    if expect.accept is not (step.output is not None):
        raise Disagreement(f"step {event.step}, {event.op}: the model expects the other answer")
    if step.output is None and step.refusal[0] not in expect.codes:
        raise Disagreement(f"step {event.step}, {event.op}: {step.refusal[0]}, not one of {sorted(expect.codes)}")
    return expect.unless if expect.accept else expect.rule


def _with_codes(step: Step, expect: Expect | None) -> Step:
    """A refused step, with every code that the model takes for right; Pawl's own comes first."""
    if step.output is not None or expect is None:
        return step
    first = step.refusal[0]
    return replace(step, refusal=(first, *sorted(expect.codes - {first})))


LOST = b"lost"
"""The plaintext of messages that the runner's bursts lose."""


def _skips(steps: Sequence[Step]) -> list[Step]:
    """Messages that are lost one after the other become one step."""
    out: list[Step] = []
    for step in steps:
        if not (step.operation == "encrypt" and step.output and step.inputs["plaintext"] == LOST):
            out.append(step)
            continue
        last = out[-1] if out else None
        if last and last.operation == "skip" and (last.actor, last.inputs["peer"]) == (step.actor, step.inputs["peer"]):
            out[-1] = replace(last, inputs={**last.inputs, "count": last.inputs["count"] + 1})
        else:
            out.append(Step("skip", step.actor, {**step.inputs, "count": 1}, output={}))
    return out


SETTING_UP = frozenset({"create", "signed-prekey", "prekey"})


def _only_needed(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Without the parties that nobody speaks to and that do nothing."""
    busy = {step.actor for step in steps if step.operation not in SETTING_UP}
    busy |= {other for step in steps for other in step.others}
    needed = tuple(step for step in steps if step.actor is None or step.actor in busy)
    in_sessions = any(step.operation not in {*SETTING_UP, *GROUP_OPERATIONS} for step in needed)
    return needed if in_sessions else tuple(_as_members(needed))


def _as_members(steps: Sequence[Step]) -> Iterator[Step]:
    """Nothing happens in sessions: what a party has for them is left out."""
    for step in steps:
        if step.operation == "create":
            named = {name: step.inputs[name] for name in ("name", "deviceId")}
            yield Step("member", step.actor, named, output={})
        elif step.operation != "signed-prekey":
            yield step
