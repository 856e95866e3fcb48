"""The program of a writer: it opens a store, does what it is told on its stdin, and says each result on its stdout.

    python -m pawl_gate.trials.writer           what is told and said are lines of JSON
    python -m pawl_gate.trials.writer nursery   stdin is a socket: each request starts such a writer, by a fork

A result is said only after the library handed it out, and the next call begins only after it was said. So whoever
kills a writer knows what it was doing: of all calls that it was told, the first whose result is not there. The nursery
has all modules imported and nothing opened, so that a fork of it is what a new process would be, much sooner.

A call is a list, `[what, argument, ...]`. A result is `[began, ended, how, value]`, times in nanoseconds of the clock
that all processes of a machine share; `how` is "done", "refused" (the value is the code) or "failed" (an exception that
is no refusal).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final

from pawl import Device, EncryptedMessage, Event, MessageType, PreKeyBundle, ProtocolAddress, ProtocolError, PublicKey
from pawl.application import ApplicationRows
from pawl.errors import CorruptStore
from pawl.events import ConflictRetried
from pawl.storage.contract import Store, Table
from pawl_gate.lifetimes import killed_with_parent
from pawl_gate.trials.broken import BROKEN
from pawl_gate.trials.places import OPENERS

START, REAP = b"s", b"r"
"""What the nursery is asked for."""

NUMBER_BYTES: Final = 8

Result = list[Any]


# -- what goes over the pipes ------------------------------------------------------------------------------------------


def bundle_out(bundle: PreKeyBundle) -> dict[str, Any]:
    """A bundle, as JSON holds it."""
    return {
        "registration_id": bundle.registration_id,
        "device_id": bundle.device_id,
        "identity_key": bundle.identity_key.serialize().hex(),
        "signed_prekey_id": bundle.signed_prekey_id,
        "signed_prekey": bundle.signed_prekey.serialize().hex(),
        "signed_prekey_signature": bundle.signed_prekey_signature.hex(),
        "prekey_id": bundle.prekey_id,
        "prekey": None if bundle.prekey is None else bundle.prekey.serialize().hex(),
    }


def bundle_in(data: dict[str, Any]) -> PreKeyBundle:
    """The bundle in what `bundle_out` gave."""
    keys = {
        name: None if data[name] is None else PublicKey.deserialize(bytes.fromhex(data[name]))
        for name in ("identity_key", "signed_prekey", "prekey")
    }
    signature = bytes.fromhex(data["signed_prekey_signature"])
    return PreKeyBundle(**{**data, **keys, "signed_prekey_signature": signature})


def message_out(message: EncryptedMessage) -> list[Any]:
    """A message, as JSON holds it."""
    return [int(message.type), message.serialized.hex()]


def message_in(data: list[Any]) -> EncryptedMessage:
    """The message in what `message_out` gave."""
    return EncryptedMessage(MessageType(data[0]), bytes.fromhex(data[1]))


# -- the writer --------------------------------------------------------------------------------------------------------


def store_plaintext(_: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> None:
    """The application's hook: counts, by text, how often it was handed that."""
    count = rows.get(plaintext)
    rows.put(plaintext, b"%d" % (1 + int(count or 0)))


class Writer:
    """One process on a store: its calls, by the names that they are told by."""

    def __init__(self) -> None:
        self._store: Store
        self._device: Device
        self._conflicts = 0
        self._unopened = "store-closed"
        """Why there is no store to work on, by code; empty: there is one."""

    def _heard(self, event: Event) -> None:
        self._conflicts += isinstance(event, ConflictRetried)

    def open(self, kind: str, place: str, broken: str | None) -> str:
        """Open the store, `broken` in a known way if need be: the device's identity."""
        try:
            identity = self._open(kind, place, broken)
        except ProtocolError as refusal:
            self._unopened = refusal.code
            raise
        self._unopened = ""
        return identity

    def _open(self, kind: str, place: str, broken: str | None) -> str:
        if broken is None:
            self._store = OPENERS[kind](place)
            self._device = Device(self._store, on_event=self._heard, store_plaintext=store_plaintext)
        else:
            control = BROKEN[broken]
            self._store = control.store(kind, place)
            self._device = control.device(self._store, store_plaintext)
        return self._device.identity_key.serialize().hex()

    def encrypt(self, peer: str, texts: list[str]) -> list[Any]:
        """One text by itself, more of them in one transaction: the messages."""
        address, plaintexts = ProtocolAddress(peer, 1), [text.encode() for text in texts]
        if len(plaintexts) == 1:
            return [message_out(self._device.encrypt(address, plaintexts[0]))]
        return [message_out(message) for message in self._device.encrypt_many(address, plaintexts)]

    def decrypt(self, peer: str, messages: list[list[Any]]) -> list[str]:
        """One message by itself, more of them in one transaction: the texts."""
        address, received = ProtocolAddress(peer, 1), [message_in(message) for message in messages]
        if len(received) == 1:
            return [self._device.decrypt(address, received[0]).decode()]
        return [plaintext.decode() for plaintext in self._device.decrypt_many(address, received)]

    def bundle(self, extra: int) -> list[Any]:
        """A bundle and, in a call of its own where there are to be any, `extra` further prekeys: bundle and them."""
        if not extra:
            return [bundle_out(self._device.prekey_bundle()), []]
        made = self._device.generate_prekeys(extra)
        return [None, [[prekey.id, prekey.key.serialize().hex()] for prekey in made]]

    def establish(self, peer: str, bundle: dict[str, Any]) -> None:
        """Start a session with a peer."""
        self._device.establish(ProtocolAddress(peer, 1), bundle_in(bundle))

    def forget(self, peer: str) -> None:
        """Drop the sessions with a peer."""
        self._device.forget_session(ProtocolAddress(peer, 1))

    def tidy(self, texts: list[str]) -> None:
        """The application deletes plaintexts that it has dealt with."""
        with self._device.application_rows() as rows:
            for text in texts:
                rows.delete(text.encode())

    def look(self) -> dict[str, Any]:
        """Open every record; what the application stored, and which one-time prekeys there are."""
        damage: list[str] = []
        prekeys: list[int] = []
        for table in Table:
            with self._store.transaction() as tx:
                try:
                    rows = tx.scan(table, b"")
                except CorruptStore as error:
                    damage.append(str(error))
                    continue
            if table is Table.PREKEY:
                prekeys = [int.from_bytes(key, "big") for key, _ in rows]
        with self._device.application_rows() as kept:
            stored = {key.decode(): int(value) for key, value in kept.scan()}
        return {"stored": stored, "prekeys": prekeys, "damage": damage}

    def tally(self) -> int:
        """How many steps were taken again after a conflict."""
        return self._conflicts

    def together(self, calls: list[list[Any]]) -> list[Result]:
        """Several calls at once, each an asyncio task in a thread of its own: their results."""

        async def all_of_them() -> list[Result]:
            return await asyncio.gather(*(asyncio.to_thread(self.take, each) for each in calls))

        return asyncio.run(all_of_them())

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def take(self, call: list[Any]) -> Result:
        """Do what is told: the result."""
        what, *arguments = call
        how, value = "done", None
        began = time.monotonic_ns()
        if self._unopened and what not in ("open", "together"):
            return [began, began, "refused", self._unopened]
        try:
            step: Callable[..., Any] = getattr(self, what)
            value = step(*arguments)
        except ProtocolError as refusal:
            how, value = "refused", refusal.code
        except Exception as error:
            how, value = "failed", f"{type(error).__name__}: {error}"
        return [began, time.monotonic_ns(), how, value]


def serve(told: IO[str], said: IO[str]) -> None:
    """Work until nobody tells anything any more."""
    writer = Writer()
    for line in told:
        # In one write: whoever reads half of it knows that its end is missing.
        said.write(json.dumps(writer.take(json.loads(line)), separators=(",", ":")) + "\n")
        said.flush()


# -- the nursery -------------------------------------------------------------------------------------------------------


def nursery(asked: socket.socket) -> None:
    """Start writers until nobody asks any more.

    Who dies is reaped only when that is asked for: until then its number is nobody else's, and it can be killed by it.
    """
    # The driver of PostgreSQL, where it is installed, is imported once, here.
    with suppress(ImportError):
        import pawl.storage.postgres  # noqa: F401 - for those that are forked
    while True:
        request, pipes, _, _ = socket.recv_fds(asked, 1 + NUMBER_BYTES, 2)
        if not request:
            return
        if request[:1] == REAP:
            process = int.from_bytes(request[1:], "big")
            _, status = os.waitpid(process, 0)
            asked.send(os.waitstatus_to_exitcode(status).to_bytes(NUMBER_BYTES, "big", signed=True))
            continue
        tie = killed_with_parent()
        process = os.fork()
        if process == 0:
            # Nothing of this program may run in the child but the writer, and nothing that is to run at the end.
            try:
                asked.close()
                if tie is not None:
                    tie()
                with open(pipes[0], encoding="utf-8") as told, open(pipes[1], "w", encoding="utf-8") as said:
                    serve(told, said)
            finally:
                os._exit(0)
        for pipe in pipes:
            os.close(pipe)
        asked.send(process.to_bytes(NUMBER_BYTES, "big"))


if __name__ == "__main__":
    # What a driver logs of a server that is away is expected here.
    logging.getLogger().addHandler(logging.NullHandler())
    if sys.argv[1:] == ["nursery"]:
        with socket.socket(fileno=os.dup(0)) as parent:
            # Its children must not hold it: then nobody would see it end.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            nursery(parent)
    else:
        serve(sys.stdin, sys.stdout)
