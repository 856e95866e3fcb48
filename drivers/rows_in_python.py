"""What a peer in Python stores when no driver keeps it: rows of bytes, for findings and for what is thrown away."""

from __future__ import annotations


class Rows:
    """A dict with the calls of `in_python.Party`."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def load(self, row: str) -> bytes | None:
        """What is stored under this name."""
        return self.rows.get(row)

    def store(self, row: str, data: bytes) -> None:
        """Keep these bytes under this name."""
        self.rows[row] = data

    def remove(self, row: str) -> None:
        """Delete what is stored under this name, if anything is."""
        self.rows.pop(row, None)
