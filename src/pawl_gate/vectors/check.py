"""Running vectors: each test in a fresh world of a target, each actor that the target can play.

What reaches an actor comes from the vector, never from the target, so that one wrong answer is one failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast

from pawl.crypto import xeddsa
from pawl.crypto.keys import PublicKey
from pawl.errors import ProtocolError
from pawl_gate.group_wire import SIGNATURE_BYTES
from pawl_gate.targets.base import (
    Bundle,
    Importing,
    Misbehaved,
    Refused,
    Target,
    TargetCrashed,
    TargetHung,
    WireMessage,
    World,
)
from pawl_gate.vectors.record import JUDGED
from pawl_spec.history import Hello
from pawl_spec.vector_operations import GROUP_PROFILES, INJECT_KEYS
from pawl_spec.vectors import Digest, Group, Step, Value, Vector

COMPATIBILITY = frozenset({"prekey-id-zero", "untyped-keys"})
"""Profiles that are a compatibility option of the driver contract."""

LAYOUT = "group-layout"
"""The capability to give a group another layout than the target's groups have."""

UNNAMED = "unknown"
"""What a target says that refuses without telling the cause: a refusal like any other."""


class Verdict(Enum):
    """How a test went on a target."""

    PASSED = "passed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    """The target declares that it cannot, or that it has other limits."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A test and how it went."""

    id: str
    verdict: Verdict
    why: str = ""
    """What went wrong and at which step, or what is not supported."""
    partly: bool = False
    """Not every actor could be played."""


class _Playable(World, Importing, Protocol):
    """A world into which keys can be put."""


def check(target: Target, group: Group, test: Vector) -> Checked:
    """Run a test. Raises: HarnessBroken."""
    played, why = _played(target.hello, group, test)
    if not played:
        claimed = claims(test, target.hello)
        # A test that says this target confirmed it must at least be one that it can run.
        return Checked(test.id, Verdict.FAILED if claimed else Verdict.UNSUPPORTED, why)
    world = cast("_Playable", target.world(0))
    player = _Player(world, target.hello, group, played)
    try:
        for number, step in enumerate(test.steps):
            wrong = player.play(step)
            if wrong is not None:
                where = f"step {number} ({' '.join(filter(None, (step.actor, step.operation)))})"
                return Checked(test.id, Verdict.FAILED, f"{where}: {wrong}")
    finally:
        world.close()
    return Checked(test.id, Verdict.PASSED, partly=len(played) < len(_judged(test)))


def claims(test: Vector, hello: Hello) -> bool:
    """Whether the test says that this target, in this version, confirmed it."""
    return not {hello.name, f"{hello.name} {hello.version}"}.isdisjoint(test.confirmed_by)


def playable(hello: Hello, group: Group, test: Vector) -> bool:
    """Whether a target that declares this can play an actor of the test."""
    return bool(_played(hello, group, test)[0])


def _judged(test: Vector) -> set[str]:
    """The actors of whom something is expected."""
    return {step.actor for step in test.steps if step.actor is not None and step.operation in JUDGED}


def _played(hello: Hello, group: Group, test: Vector) -> tuple[set[str], str]:
    """The actors that a target can play; where there is none, why."""
    declared: dict[str, object] = {
        name: getattr(part, name) for part in (hello.limits, hello.profile) for name in type(part).__slots__
    }
    for name, value in test.assumes.items():
        if declared.get(name) != value:
            return set(), f"declares {name} {declared.get(name)}"
    other = group.profile in GROUP_PROFILES and group.profile != hello.group_layout
    if other and LAYOUT not in hello.capabilities:
        return set(), f"declares group_layout {hello.group_layout}"
    extra = {"compatibility"} if group.profile in COMPATIBILITY else set()
    lacking: set[str] = set()
    played: set[str] = set()
    needs = test.actors
    for actor in _judged(test):
        missing = ({*needs[actor]} | extra) - hello.capabilities
        lacking |= missing
        if not missing:
            played.add(actor)
    return played, "does not declare " + ", ".join(sorted(lacking))


class _Player:
    """One test in one world."""

    def __init__(self, world: _Playable, hello: Hello, group: Group, actors: set[str]) -> None:
        injects = INJECT_KEYS in hello.capabilities
        self._layout = hello.group_layout
        self._world = world
        self._profile = group.profile
        self._actors = actors
        self._injects = injects
        self._numbers: dict[str, int] = {}
        self._signing: dict[tuple[str | None, bytes], PublicKey] = {}
        """What each actor's chain in a group signs with."""
        self._laid_out: set[bytes] = set()

    def play(self, step: Step) -> str | None:
        """Carry out one step; what went wrong."""
        # Those who are not played are created all the same: the others have to know their addresses.
        if step.operation not in ("create", "member") and step.actor is not None and step.actor not in self._actors:
            return None
        try:
            self._lay_out(step)
            if step.draws and self._injects:
                self._world.inject_keys(self._numbers[str(step.actor)], [draw.private for draw in step.draws])
            output = HANDLERS[step.operation](self, step)
        except Refused as refused:
            return _compare_refusal(step, refused)
        except (Misbehaved, TargetCrashed, TargetHung) as died:
            return f"it broke: {died}"
        if step.output is None:
            return f"it was done, and must be refused ({' or '.join(step.refusal)})"
        return _compare(step.output, output)

    def ends(self, step: Step) -> tuple[int, int]:
        """Who acts, and on whom."""
        return self._numbers[str(step.actor)], self._numbers[step.inputs["peer"]]

    def _lay_out(self, step: Step) -> None:
        """A group has its layout before it is used; the target's own needs no saying."""
        group = step.inputs.get("group")
        if group is not None and self._profile != self._layout and group not in self._laid_out:
            self._laid_out.add(group)
            self._world.group_layout(group, self._profile)

    # -- operations ---------------------------------------------------------------------------------------------------

    def _create(self, step: Step) -> dict[str, Value]:
        number = self._numbers.setdefault(str(step.actor), len(self._numbers))
        given = step.inputs
        key = self._world.import_party(
            number,
            name=given["name"],
            device_id=given["deviceId"],
            trust_on_first_use=given["trustOnFirstUse"] or step.actor not in self._actors,
            identity=given["identityPrivate"],
            registration_id=given["registrationId"],
        )
        if self._profile in COMPATIBILITY and step.actor in self._actors:
            self._world.be_compatible(number, self._profile)
        return {"identityKey": key}

    def _signed_prekey(self, step: Step) -> dict[str, Value]:
        given, number = step.inputs, self._numbers[str(step.actor)]
        key = self._world.import_signed_prekey(
            number, given["id"], private=given["private"], signature=given["signature"]
        )
        return {"publicKey": key}

    def _prekey(self, step: Step) -> dict[str, Value]:
        given, number = step.inputs, self._numbers[str(step.actor)]
        return {"publicKey": self._world.import_prekey(number, given["id"], private=given["private"])}

    def _establish(self, step: Step) -> dict[str, Value]:
        self._world.establish(*self.ends(step), _bundle(step.inputs["bundle"]))
        return {}

    def _encrypt(self, step: Step) -> dict[str, Value]:
        message = self._world.encrypt(*self.ends(step), step.inputs["plaintext"])
        return {"type": message.kind, "message": message.data}

    def _skip(self, step: Step) -> dict[str, Value]:
        actor, peer = self.ends(step)
        for _ in range(step.inputs["count"]):
            self._world.encrypt(actor, peer, step.inputs["plaintext"])
        return {}

    def _decrypt(self, step: Step) -> dict[str, Value]:
        message = WireMessage(step.inputs["type"], step.inputs["message"])
        return {"plaintext": self._world.decrypt(*self.ends(step), message)}

    def _trust(self, step: Step) -> dict[str, Value]:
        self._world.approve(*self.ends(step), step.inputs["identityKey"])
        return {}

    def _forget(self, step: Step) -> dict[str, Value]:
        self._world.forget(*self.ends(step))
        return {}

    def _restart(self, step: Step) -> dict[str, Value]:
        self._world.restart(self._numbers[str(step.actor)])
        return {}

    def _advance(self, step: Step) -> dict[str, Value]:
        self._world.advance(step.inputs["seconds"])
        return {}

    # -- groups -------------------------------------------------------------------------------------------------------

    def _member(self, step: Step) -> dict[str, Value]:
        number = self._numbers.setdefault(str(step.actor), len(self._numbers))
        given = step.inputs
        self._world.create(number, name=given["name"], device_id=given["deviceId"], trust_on_first_use=True)
        return {}

    def _sender_key(self, step: Step) -> dict[str, Value]:
        given = step.inputs
        key = self._world.import_sender_key(
            self._numbers[str(step.actor)],
            given["group"],
            chain_id=given["chainId"],
            iteration=given["iteration"],
            chain_key=given["chainKey"],
            signing=given["signingPrivate"],
        )
        self._signing[step.actor, given["group"]] = PublicKey.deserialize(key)
        return {"signingKey": key}

    def _distribution(self, step: Step) -> dict[str, Value]:
        return {"distribution": self._world.group_create(self._numbers[str(step.actor)], step.inputs["group"])}

    def _from(self, step: Step) -> tuple[int, int, bytes]:
        """Who is handed something, from whom, in which group."""
        return self._numbers[str(step.actor)], self._numbers[step.inputs["sender"]], step.inputs["group"]

    def _process(self, step: Step) -> dict[str, Value]:
        self._world.group_join(*self._from(step), step.inputs["distribution"])
        return {}

    def _crowd(self, step: Step) -> dict[str, Value]:
        given = step.inputs
        for number in range(given["count"]):
            name = f"crowd-{number}"
            sender = self._numbers.setdefault(name, len(self._numbers))
            self._world.create(sender, name=name, device_id=1, trust_on_first_use=True)
            self._world.group_join(self._numbers[str(step.actor)], sender, given["group"], given["distribution"])
        return {}

    def _signed(self, step: Step, message: bytes) -> dict[str, Value]:
        """What of a message is compared; its signature has to hold."""
        signed, signature = message[:-SIGNATURE_BYTES], message[-SIGNATURE_BYTES:]
        try:
            xeddsa.verify(self._signing[step.actor, step.inputs["group"]], signed, signature)
        except ProtocolError:
            raise Misbehaved("the message is not signed with the chain's key") from None
        return {"signed": signed}

    def _group_encrypt(self, step: Step) -> dict[str, Value]:
        actor, given = self._numbers[str(step.actor)], step.inputs
        return self._signed(step, self._world.group_encrypt(actor, given["group"], given["plaintext"]))

    def _group_skip(self, step: Step) -> dict[str, Value]:
        for _ in range(step.inputs["count"]):
            self._group_encrypt(step)
        return {}

    def _group_decrypt(self, step: Step) -> dict[str, Value]:
        return {"plaintext": self._world.group_decrypt(*self._from(step), step.inputs["message"])}

    def _forget_sender(self, step: Step) -> dict[str, Value]:
        self._world.group_forget(*self._from(step))
        return {}

    def _set_members(self, step: Step) -> dict[str, Value]:
        members = [self._numbers[name] for name in step.inputs["members"]]
        self._world.group_members(self._numbers[str(step.actor)], step.inputs["group"], members)
        return {}

    def _share(self, step: Step) -> dict[str, Value]:
        actor, given = self._numbers[str(step.actor)], step.inputs
        return self._signed(step, self._world.group_share(actor, given["group"], given["plaintext"]).message)


HANDLERS: dict[str, Callable[[_Player, Step], dict[str, Value]]] = {
    "create": _Player._create,
    "signed-prekey": _Player._signed_prekey,
    "prekey": _Player._prekey,
    "establish": _Player._establish,
    "encrypt": _Player._encrypt,
    "skip": _Player._skip,
    "decrypt": _Player._decrypt,
    "trust": _Player._trust,
    "forget": _Player._forget,
    "restart": _Player._restart,
    "advance": _Player._advance,
    "member": _Player._member,
    "sender-key": _Player._sender_key,
    "distribution": _Player._distribution,
    "process": _Player._process,
    "crowd": _Player._crowd,
    "group-encrypt": _Player._group_encrypt,
    "group-skip": _Player._group_skip,
    "group-decrypt": _Player._group_decrypt,
    "forget-sender": _Player._forget_sender,
    "set-members": _Player._set_members,
    "share": _Player._share,
}


def _bundle(fields: Mapping[str, Value]) -> Bundle:
    return Bundle(
        registration_id=fields["registrationId"],
        device_id=fields["deviceId"],
        identity_key=fields["identityKey"],
        signed_prekey_id=fields["signedPreKeyId"],
        signed_prekey=fields["signedPreKey"],
        signature=fields["signature"],
        prekey_id=fields["preKeyId"],
        prekey=fields["preKey"],
    )


def _compare_refusal(step: Step, refused: Refused) -> str | None:
    if step.output is not None:
        return f"refused ({refused}), and must be done"
    if refused.code in step.refusal or refused.code == UNNAMED:
        return None
    return f"refused as {refused.code}, and must be as {' or '.join(step.refusal)}"


def _compare(expected: Mapping[str, Value], given: Mapping[str, Value]) -> str | None:
    for name, value in expected.items():
        got = given[name]
        if isinstance(value, Digest):
            got = Digest.of(got)
        if got != value:
            return f"{name} is {_shown(got)}, and must be {_shown(value)}"
    return None


def _shown(value: Value) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
