"""The program that a pool on trial lives in: an asyncio service over one store, which does what it is told.

    python -m pawl_gate.trials.pool_service

Told and said are lines of JSON. A job is a task of its own, begun in the order of the lines; what comes of it is said
when its caller is told, whenever that is. All events of the pool are said too. Times are nanoseconds of the clock that
all processes of a machine share.

    told on stdin                                                       said on stdout
    ["open", {settings}, kind of store, place, program, control]        ["up", at, identity]
    ["job", number, what, peer, argument, ...]                          ["began", at, number]
                                                                        ["end", at, number, how, value]
    ["count"]                                                           ["count", at, queued, pending, bytes, ...]
    ["close", drain]                                                    ["closing", at], ["closed", at]
                                                                        ["told", at, name, fields]
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

from pawl import Event, ProtocolAddress, ProtocolError
from pawl.workers import AsyncDevice, WhenFull, WorkerPool, WorkerSettings
from pawl_gate.trials.places import OPENERS
from pawl_gate.trials.writer import bundle_in, message_in, message_out

FIELDS: Final = ("job", "worker", "pid", "outcome", "queued", "pending", "bytes")
"""What is said of an event, where it has that."""

BAD: Final = {
    "text": lambda device, peer: device.encrypt(peer, "no bytes"),
    "nothing": lambda device, peer: device.encrypt(peer, None),
    "long": lambda device, peer: device.encrypt(peer, bytes(80 << 20)),
    "peer": lambda device, peer: device.encrypt("nobody", b"text"),
    "message": lambda device, peer: device.decrypt(peer, b"no message"),
    "batch": lambda device, peer: device.encrypt_many(peer, [b"text", 7]),
    "bundle": lambda device, peer: device.establish(peer, "no bundle"),
}
"""Arguments that are none, by name."""


class Service:
    """A pool, a device, and the jobs that are told."""

    def __init__(self, say: Callable[[list[Any]], None]) -> None:
        self.say = say
        self.pool: WorkerPool
        self.device: AsyncDevice
        self.tasks: set[asyncio.Task[None]] = set()
        self._stack = ExitStack()

    def told(self, event: Event) -> None:
        """The pool tells something."""
        found = [getattr(event, field, None) for field in FIELDS]
        self.say(["told", time.monotonic_ns(), event.name, found])

    async def open(self, settings: dict[str, Any], kind: str, place: str, program: str, control: str | None) -> None:
        """Open store, pool and device; broken in a known way if need be."""
        if control is not None:
            from pawl_gate.trials.broken_pools import BROKEN_POOLS

            self._stack.enter_context(BROKEN_POOLS[control].patched())
        wanted = {**settings, "when_full": WhenFull(settings["when_full"])}
        self.pool = WorkerPool(WorkerSettings(**wanted), on_event=self.told, program=program)
        await self.pool.start()
        self.device = await AsyncDevice.open(OPENERS[kind](place), self.pool)
        self.say(["up", time.monotonic_ns(), self.device.identity_key.serialize().hex()])

    def job(self, number: int, what: str, peer: str, *arguments: Any) -> None:
        """Begin a job."""
        task = asyncio.ensure_future(self._job(number, what, ProtocolAddress(peer, 1), arguments))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _job(self, number: int, what: str, peer: ProtocolAddress, arguments: tuple[Any, ...]) -> None:
        call: Callable[..., Awaitable[Any]] = getattr(self, f"do_{what}")
        how, value = "done", None
        self.say(["began", time.monotonic_ns(), number])
        try:
            value = await call(peer, *arguments)
        except ProtocolError as refusal:
            how, value = "refused", refusal.code
        except asyncio.CancelledError:
            how = "cancelled"
        except Exception as error:
            how, value = "failed", f"{type(error).__name__}: {error}"
        self.say(["end", time.monotonic_ns(), number, how, value])

    async def do_encrypt(self, peer: ProtocolAddress, texts: list[str]) -> list[Any]:
        """One text by itself, more of them in one job."""
        plaintexts = [text.encode() for text in texts]
        if len(plaintexts) == 1:
            return [message_out(await self.device.encrypt(peer, plaintexts[0]))]
        return [message_out(message) for message in await self.device.encrypt_many(peer, plaintexts)]

    async def do_decrypt(self, peer: ProtocolAddress, message: list[Any]) -> str:
        """The text."""
        return (await self.device.decrypt(peer, message_in(message))).decode()

    async def do_establish(self, peer: ProtocolAddress, bundle: dict[str, Any]) -> None:
        """Start a session."""
        await self.device.establish(peer, bundle_in(bundle))

    async def do_verify(self, peer: ProtocolAddress, bundle: dict[str, Any]) -> str:
        """Check a bundle's signature, and tell the number that both sides read out."""
        given = bundle_in(bundle)
        await self.device.verify_bundle(given)
        return given.identity_key.serialize().hex()

    async def do_bad(self, peer: ProtocolAddress, how: str) -> None:
        """A bad argument."""
        await BAD[how](self.device, peer)

    def count(self) -> None:
        """What the pool says that it holds."""
        stats = self.pool.stats()
        held = [stats.queued, stats.pending, stats.bytes, stats.peak_queued, stats.peak_pending, stats.peak_bytes]
        self.say(["count", time.monotonic_ns(), *held])

    async def close(self, drain: bool) -> None:
        """Close the pool."""
        self.say(["closing", time.monotonic_ns()])
        await self.pool.close(drain=drain)
        self.say(["closed", time.monotonic_ns()])

    async def take(self, line: bytes) -> None:
        """Do what a line says."""
        what, *arguments = json.loads(line)
        if what == "open":
            await self.open(*arguments)
        elif what == "close":
            # Jobs go on, and come, meanwhile.
            task = asyncio.ensure_future(self.close(*arguments))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            getattr(self, what)(*arguments)


async def serve() -> None:
    """Work until nobody tells anything any more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    # Whatever prints does not write into what is said.
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    writer, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, said)
    waiting: list[list[Any]] = []

    def flush() -> None:
        writer.write(b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in waiting))
        waiting.clear()

    def say(what: list[Any]) -> None:
        if not waiting:
            loop.call_soon(flush)
        waiting.append(what)

    service = Service(say)
    rest = b""
    while data := await reader.read(1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            await service.take(line)
    # What was said before the end is heard.
    await asyncio.sleep(0)
    writer.close()


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())
    asyncio.run(serve())
