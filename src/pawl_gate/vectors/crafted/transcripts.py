"""Conversations that another implementation wrote: `transcripts.json` beside this file holds them, keys included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources

from pawl.crypto.keys import KeyPair, PrivateKey
from pawl_gate.targets.base import WireMessage
from pawl_gate.vectors.crafted.writer import Crafted, create, keys, made
from pawl_gate.wire_view import inner_data, signal_layer
from pawl_spec.vectors import Draw, Step

TRANSCRIPT_KINDS = {3: "prekey", 1: "signal"}
"""node-libsignal's numbers."""


def transcripts() -> Iterator[Crafted]:
    """Conversations as node-libsignal 6.0.0 wrote them, with its keys; the last four messages arrive out of order."""
    documents = json.loads((resources.files(__package__) / "transcripts.json").read_text("utf-8"))
    for document in documents:
        pairs = [KeyPair.from_private(PrivateKey(bytes.fromhex(key))) for key in document["keys"]]
        alice, bob, signed, *rest = pairs
        steps = [
            create("alice", alice, 1001, 1),
            create("bob", bob, 2002, 1),
            keys("signed-prekey", 22, signed, signature=bytes.fromhex(document["signature"])),
        ]
        prekey = rest.pop(0) if document["oneTimePreKey"] else None
        if prekey is not None:
            steps.append(keys("prekey", 31, prekey))
        bundle = {
            "registrationId": 2002,
            "deviceId": 1,
            "identityKey": bob.public.serialize(),
            "signedPreKeyId": 22,
            "signedPreKey": signed.public.serialize(),
            "signature": bytes.fromhex(document["signature"]),
            "preKeyId": None if prekey is None else 31,
            "preKey": None if prekey is None else prekey.public.serialize(),
        }
        draws = (Draw("base", rest.pop(0).private.data), Draw("ratchet", rest.pop(0).private.data))
        steps.append(Step("establish", "alice", {"peer": "bob", "bundle": bundle}, draws, {}))
        steps += _conversation(document["steps"], rest)
        with_or_without = "without" if prekey is None else "with"
        test = made(
            f"transcript/{with_or_without}-one-time-prekey",
            f"A conversation {with_or_without} a one-time prekey, as node-libsignal 6.0.0 wrote it.",
            ["Transcript", "OutOfOrder"],
            ["CNF-01"],
            steps,
            "written by node-libsignal 6.0.0, with its keys",
            {"needs_one_time": False} if prekey is None else {},
        )
        yield Crafted("session_transcripts", test)


def _conversation(said: Sequence[dict[str, object]], keys: list[KeyPair]) -> list[Step]:
    """The messages and their reading. Whoever first reads a chain draws the next key."""
    steps: list[Step] = []
    names = {"A": ("alice", "bob"), "B": ("bob", "alice")}
    known: set[tuple[str, int | bytes]] = set()
    waiting: list[Step] = []

    def reading(sender: str, receiver: str, kind: str, data: bytes, text: bytes) -> Step:
        inputs = {"peer": sender, "type": kind, "message": data}
        return Step("decrypt", receiver, inputs, output={"plaintext": text})

    def read_now(step: Step) -> Step:
        data = inner_data(WireMessage(step.inputs["type"], step.inputs["message"]))
        chain = (str(step.actor), dict(signal_layer(data).fields)[1])
        if chain in known:
            return step
        known.add(chain)
        draw = Draw("ratchet", keys.pop(0).private.data)
        return Step("decrypt", step.actor, step.inputs, (draw,), step.output)

    for entry in said:
        sender, receiver = names[str(entry["from"])]
        kind, data = TRANSCRIPT_KINDS[int(str(entry["type"]))], bytes.fromhex(str(entry["body"]))
        text = str(entry["plaintext"]).encode()
        output = {"type": kind, "message": data}
        steps.append(Step("encrypt", sender, {"peer": receiver, "plaintext": text}, output=output))
        step = reading(sender, receiver, kind, data, text)
        if text.startswith(b"ooo"):
            waiting.append(step)
        else:
            steps.append(read_now(step))
    return steps + [read_now(waiting[at]) for at in (2, 0, 3, 1)]
