"""The suite for adapters: a good one passes, and each broken one is told by the promise that it breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pawl_gate.storage import Broken, check
from tests.storage.adapters import DictAdapter, FileAdapter

PROMISES = [
    "it has get",
    "what was put",
    "a value is replaced",
    "a scan gives",
    "a block that raises",
    "nobody sees",
    "of two that read and write",
    "of two that read a range",
    "a device talks",
]


def test_a_good_adapter_passes(tmp_path: Path) -> None:
    """Control: every promise is looked at, and kept."""
    report = check(lambda: FileAdapter(tmp_path / "pairs.db", timeout=2))
    assert report.broken == ()
    report.raise_if_broken()
    assert [line[:6] for line in str(report).splitlines()] == ["kept  "] * len(PROMISES)
    assert [each.promise.startswith(start) for each, start in zip(report.findings, PROMISES, strict=True)] == [True] * 9


class NoRollback(FileAdapter):
    """Each write is committed at once."""

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        yield self


class Swallows(FileAdapter):
    """The block's exception does not come out."""

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        try:
            with super().transaction() as inner:
                yield inner
        except (ValueError, KeyboardInterrupt):
            pass


class Descending(FileAdapter):
    """Scans the wrong way round."""

    def scan(self, prefix: bytes) -> Any:
        return list(super().scan(prefix))[::-1]


class TextOrder(FileAdapter):
    """Scans one key too many where a prefix ends with 0xFF."""

    def scan(self, prefix: bytes) -> Any:
        return super().scan(prefix.rstrip(b"\xff"))


class Truncates(FileAdapter):
    """A column with a limit."""

    def put(self, key: bytes, value: bytes) -> None:
        super().put(key, value[:1000])


class Texts(FileAdapter):
    """Hands out something that is not bytes."""

    def get(self, key: bytes) -> Any:
        found = super().get(key)
        return None if found is None else bytearray(found)


class Forgets(FileAdapter):
    """Deletes nothing."""

    def delete(self, key: bytes) -> None:
        pass


class Untyped(FileAdapter):
    """The loser of a race is told by the engine's own error."""

    @contextmanager
    def transaction(self) -> Iterator[FileAdapter]:
        connection = self._connection()
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield self
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


class LastWins(FileAdapter):
    """Writes at the end, over whatever is there by then."""

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        buffer = Buffer(self)
        yield buffer
        with super().transaction() as inner:
            for key, value in buffer.writes.items():
                inner.delete(key) if value is None else inner.put(key, value)


class Buffer:
    def __init__(self, inner: FileAdapter) -> None:
        self._inner = inner
        self.writes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.writes[key] if key in self.writes else self._inner.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        self.writes[key] = None

    def scan(self, prefix: bytes) -> Any:
        return self._inner.scan(prefix)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (NoRollback, {"a block that raises", "nobody sees", "of two that read and write", "of two that read a range"}),
        (Swallows, {"a block that raises"}),
        (Descending, {"a scan gives", "a device talks"}),
        (TextOrder, {"a scan gives"}),
        (Truncates, {"what was put"}),
        (Texts, {"what was put", "a device talks"}),
        (Forgets, {"what was put", "a value is replaced", "a block that raises", "a device talks"}),
        (Untyped, {"of two that read and write", "of two that read a range"}),
        (LastWins, {"of two that read and write", "of two that read a range"}),
    ],
)
def test_a_broken_adapter_is_told(tmp_path: Path, kind: type[FileAdapter], broken: set[str]) -> None:
    """Each fault is seen by the promise that it breaks, and by no more than others that need it."""
    report = check(lambda: kind(tmp_path / "pairs.db", timeout=2))
    found = {start for each in report.broken for start in PROMISES if each.promise.startswith(start)}
    assert found & broken, str(report)
    assert found <= broken | {"a device talks"}, str(report)
    with pytest.raises(Broken, match="BROKEN"):
        report.raise_if_broken()


def test_what_is_no_adapter_breaks_all() -> None:
    """A promise that cannot be looked at is not kept: nothing is green for want of a method."""
    makers: list[Callable[[], Any]] = [DictAdapter, object, lambda: sqlite3.connect("/nowhere/at/all")]
    for make in makers:
        report = check(make)
        assert len(report.broken) == len(report.findings)
