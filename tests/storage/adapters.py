"""Adapters as third parties write them: one in a SQLite file of its own (the gate has it), and one without transactions."""

from __future__ import annotations

from collections.abc import Iterable

from pawl_gate.targets.file_adapter import FileAdapter as FileAdapter


class DictAdapter:
    """The least that an adapter can be: no transactions."""

    def __init__(self, pairs: dict[bytes, bytes] | None = None) -> None:
        self.pairs = {} if pairs is None else pairs
        self.fail_after: int | None = None
        """Writes that still work; then the place is gone."""

    def _write(self) -> None:
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise OSError("the place is gone")
            self.fail_after -= 1

    def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._write()
        self.pairs[key] = value

    def delete(self, key: bytes) -> None:
        self._write()
        self.pairs.pop(key, None)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return [(key, self.pairs[key]) for key in sorted(self.pairs) if key.startswith(prefix)]
