"""Whether an adapter keeps what `pawl.AdapterStore` needs: `check(open_adapter)`, for whoever writes one.

    from pawl_gate.storage import check

    check(lambda: MyAdapter("dbname=test")).raise_if_broken()

`open_adapter` is called several times and opens the same place each time, as another process would. At the first call
the place is empty. Not covered: a process or a machine that dies; kill one of yours and look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pawl import AdapterStore, Device, MemoryStore, ProtocolAddress
from pawl.errors import StorageError
from pawl.storage import TransactionalAdapter

PATIENCE_SECONDS: Final = 10.0
"""For one step of another writer. One that waits for the first one's end is let go when that ends."""

_SHORT_SECONDS: Final = 0.5
"""For a writer that may have to wait."""

_PREFIX: Final = b"check\0"
_LARGEST_KEY: Final = _PREFIX + b"\xff" * 2090
_LARGEST_VALUE: Final = bytes(range(256)) * 257

OpenAdapter = Callable[[], TransactionalAdapter]


class Broken(AssertionError):
    """An adapter does not keep a promise; the text says which, one line each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, and what was seen."""

    promise: str
    trouble: str | None
    """None: it is kept."""


@dataclass(frozen=True, slots=True)
class Report:
    """All promises, in the order in which they were looked at."""

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Those that are not kept."""
        return tuple(each for each in self.findings if each.trouble is not None)

    def __str__(self) -> str:
        """One line for each promise."""
        return "\n".join(
            f"kept    {each.promise}" if each.trouble is None else f"BROKEN  {each.promise}: {each.trouble}"
            for each in self.findings
        )

    def raise_if_broken(self) -> None:
        """Raises: Broken."""
        if self.broken:
            raise Broken(str(self))


class _Trouble(Exception):
    """What was seen instead of what was promised."""


def check(open_adapter: OpenAdapter) -> Report:
    """Look at every promise, each with adapters opened for it; a promise that cannot be looked at counts as broken."""
    findings = []
    for promise, look in _PROMISES:
        try:
            look(open_adapter)
            findings.append(Finding(promise, None))
        except _Trouble as trouble:
            findings.append(Finding(promise, str(trouble)))
        except Exception as error:
            findings.append(Finding(promise, f"{type(error).__name__}: {error}"))
    return Report(tuple(findings))


def _expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise _Trouble(f"{what}: {_shown(found)} instead of {_shown(expected)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _write(adapter: TransactionalAdapter, pairs: dict[bytes, bytes | None]) -> None:
    with adapter.transaction() as inner:
        for key, value in pairs.items():
            if value is None:
                inner.delete(key)
            else:
                inner.put(key, value)


def _read(adapter: TransactionalAdapter, *keys: bytes) -> list[bytes | None]:
    with adapter.transaction() as inner:
        return [inner.get(key) for key in keys]


def _scan(adapter: TransactionalAdapter, prefix: bytes) -> list[tuple[bytes, bytes]]:
    with adapter.transaction() as inner:
        return list(inner.scan(prefix))


# -- one writer --------------------------------------------------------------------------------------------------------


def _methods(open_adapter: OpenAdapter) -> None:
    adapter = open_adapter()
    for name in ("get", "put", "delete", "scan", "transaction"):
        if not callable(getattr(adapter, name, None)):
            raise _Trouble(f"there is no method {name}")


def _round_trip(open_adapter: OpenAdapter) -> None:
    pairs = {_PREFIX + bytes([byte]): bytes([255 - byte]) * byte for byte in range(256)}
    pairs[_LARGEST_KEY] = _LARGEST_VALUE
    _write(open_adapter(), {**pairs})
    for key, value in zip(pairs, _read(open_adapter(), *pairs), strict=True):
        if type(value) is not bytes:
            raise _Trouble(f"a value comes back as {type(value).__name__}, not bytes")
        _expect(value, pairs[key], f"the value of {_shown(key)}")
    _write(open_adapter(), dict.fromkeys(pairs))
    _expect(_read(open_adapter(), *pairs), [None] * len(pairs), "after deleting")


def _overwriting(open_adapter: OpenAdapter) -> None:
    key, missing = _PREFIX + b"over", _PREFIX + b"missing"
    for value in (b"long value", b"", b"x"):
        _write(open_adapter(), {key: value})
        _expect(_read(open_adapter(), key), [value], "after writing again")
    _write(open_adapter(), {key: None, missing: None})
    _expect(_read(open_adapter(), key, missing), [None, None], "after deleting, once of nothing")


def _order(open_adapter: OpenAdapter) -> None:
    names = [b"", b"\0", b"a", b"a\0", b"a\x7f", b"a\x80", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"]
    pairs = {_PREFIX + b"order" + name: name for name in names}
    _write(open_adapter(), {key: pairs[key] for key in reversed(pairs)})
    for prefix in (b"", b"a", b"a\xff", b"\xff", b"\xff\xff", b"c"):
        start = _PREFIX + b"order" + prefix
        expected = [(key, value) for key, value in sorted(pairs.items()) if key.startswith(start)]
        _expect(_scan(open_adapter(), start), expected, f"the scan of {_shown(prefix)}")
    _write(open_adapter(), dict.fromkeys(pairs))


def _rollback(open_adapter: OpenAdapter) -> None:
    kept, gone, new = (_PREFIX + name for name in (b"kept", b"gone", b"new"))
    _write(open_adapter(), {kept: b"1", gone: b"2"})
    for error in (ValueError("of the block"), KeyboardInterrupt()):
        adapter = open_adapter()
        try:
            with adapter.transaction() as inner:
                inner.put(kept, b"changed")
                inner.delete(gone)
                inner.put(new, b"3")
                raise error
        except type(error):
            pass
        else:
            raise _Trouble(f"the block's {type(error).__name__} was swallowed")
        for each in (adapter, open_adapter()):
            _expect(_read(each, kept, gone, new), [b"1", b"2", None], "after a block that raised")
    _write(open_adapter(), {kept: None, gone: None})


# -- two writers -------------------------------------------------------------------------------------------------------


class _Other:
    """A second writer, in a thread of its own, that goes on step by step."""

    def __init__(self, steps: Callable[[], Iterator[object]]) -> None:
        self._go = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)
        self.saw: list[Any] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(steps,), daemon=True)
        self._thread.start()

    def _run(self, steps: Callable[[], Iterator[object]]) -> None:
        try:
            for each in steps():
                self.saw.append(each)
                self._arrived.release()
                self._go.acquire()
        except BaseException as error:
            self.error = error
        finally:
            self._arrived.release()

    def wait(self, seconds: float) -> bool:
        """Whether it came to its next halt."""
        return self._arrived.acquire(timeout=seconds)

    def finish(self) -> None:
        """Let it go on to its end."""
        self._go.release()
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            raise _Trouble("the second writer still waits after the first one's end")


def _isolation(open_adapter: OpenAdapter) -> None:
    key = _PREFIX + b"isolated"
    _write(open_adapter(), {key: b"before"})

    def look() -> Iterator[object]:
        adapter = open_adapter()
        with adapter.transaction() as inner:
            yield inner.get(key)

    with open_adapter().transaction() as inner:
        inner.put(key, b"uncommitted")
        other = _Other(look)
        other.wait(_SHORT_SECONDS)
        if other.saw == [b"uncommitted"]:
            other.finish()
            raise _Trouble("another writer sees what is not committed")
    other.finish()
    _write(open_adapter(), {key: None})


def _one_wins(open_adapter: OpenAdapter, read: Callable[[Any], object], ours: bytes, theirs: bytes) -> None:
    """Both read, both write, both commit: then one of them has not seen the other's."""

    def write() -> Iterator[object]:
        adapter = open_adapter()
        with adapter.transaction() as inner:
            yield read(inner)
            inner.put(theirs, b"theirs")

    error: BaseException | None = None
    before: object = None
    other: _Other | None = None
    try:
        with open_adapter().transaction() as inner:
            before = read(inner)
            other = _Other(write)
            other.wait(_SHORT_SECONDS)
            inner.put(ours, b"ours")
    except Exception as refusal:
        error = refusal
    if other is None:
        raise _Trouble(f"a transaction could not begin: {type(error).__name__}")
    if not other.saw:
        other.wait(PATIENCE_SECONDS)
    other.finish()
    if error is None and other.error is None and other.saw == [before]:
        raise _Trouble("two writers read the same, both wrote and both committed")
    if error is not None and other.error is not None:
        raise _Trouble("of two writers none could commit")
    for each in (error, other.error):
        if each is not None and not isinstance(each, StorageError):
            raise _Trouble(f"the loser is told by {type(each).__name__}, not by Conflict or StoreBusy of pawl.errors")


def _lost_update(open_adapter: OpenAdapter) -> None:
    key = _PREFIX + b"contended"
    _write(open_adapter(), {key: b"before"})
    _one_wins(open_adapter, lambda inner: inner.get(key), key, key)
    _write(open_adapter(), {key: None})


def _phantom(open_adapter: OpenAdapter) -> None:
    prefix = _PREFIX + b"phantom"
    _one_wins(open_adapter, lambda inner: list(inner.scan(prefix)), prefix + b"1", prefix + b"2")
    _write(open_adapter(), {prefix + b"1": None, prefix + b"2": None})


# -- a device ----------------------------------------------------------------------------------------------------------


def _conversation(open_adapter: OpenAdapter) -> None:
    alice, peer, bob = ProtocolAddress("alice", 1), ProtocolAddress("bob", 1), Device(MemoryStore())
    device = Device(AdapterStore(open_adapter()))
    device.establish(peer, bob.prekey_bundle())
    for number in range(5):
        # Opened again before each message, as after a restart.
        device = Device(AdapterStore(open_adapter()))
        text = b"%d" % number
        _expect(bob.decrypt(alice, device.encrypt(peer, text)), text, "a message")
        late, now = bob.encrypt(alice, b"late"), bob.encrypt(alice, b"now")
        _expect([device.decrypt(peer, each) for each in (now, late)], [b"now", b"late"], "two answers, out of order")


_PROMISES: Final[Sequence[tuple[str, Callable[[OpenAdapter], None]]]] = (
    ("it has get, put, delete, scan and transaction", _methods),
    ("what was put is got back unchanged, by another one that opens the place", _round_trip),
    ("a value is replaced and deleted, a missing one too", _overwriting),
    ("a scan gives exactly the prefix, in the order of the keys' bytes", _order),
    ("a block that raises changes nothing, and raises", _rollback),
    ("nobody sees what is not committed", _isolation),
    ("of two that read and write one value, one is told or comes later", _lost_update),
    ("of two that read a range and add to it, one is told or comes later", _phantom),
    ("a device talks over it, opened again before each message", _conversation),
)
