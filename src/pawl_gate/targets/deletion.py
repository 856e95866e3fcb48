"""Deletion on disk: an operation on a real file, and then a search of all its bytes for what that operation deleted.

The files are searched as another process reads them: while the store is open, after it was closed, after its process
was killed. A secret counts as there if a part of it is: it may go on in another page, or be half overwritten.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from pawl.errors import ProtocolError
from pawl.storage.contract import Row, Store, Table, Transaction
from pawl.storage.json_file import write_json
from pawl.storage.memory import MemoryStore
from pawl.storage.sqlite import CHECKPOINT_COMMITS, SQLiteStore
from pawl_gate.targets.kept import rows_of
from pawl_gate.targets.observed import ObservedStore
from pawl_gate.targets.passing import PassingTransaction, StoreOver
from pawl_spec.history import Outcome, Search

Reopen = Callable[[Callable[[], Store]], Store]

FURTHER: Final = CHECKPOINT_COMMITS - 1
"""Commits after the one that deletes, of the number that is stated."""

CROWD: Final = 120
"""Rows: with values in the pages that are moved, several of so many leave a copy behind."""

SECRET_BYTES: Final = 32

PIECE_BYTES: Final = 8
"""Of a secret; no such piece comes up by chance."""


# -- the search -------------------------------------------------------------------------------------------------------


def pieces(secret: bytes) -> list[bytes]:
    """The parts of a secret, each of which gives it away."""
    return [secret[start : start + PIECE_BYTES] for start in range(0, len(secret), PIECE_BYTES)]


def forms(piece: bytes, name: str) -> tuple[bytes, ...]:
    """How the bytes of a piece stand in a file of this name: in JSON in Base64, from any place on; else as they are."""
    if ".json" not in name:
        return (piece,)
    coded = []
    for before in range(3):
        # Of the characters at its edges, which hold bits of its neighbours, none.
        whole = b64encode(bytes(before) + piece)
        coded.append(whole[-(-before * 8 // 6) : (before + len(piece)) * 8 // 6])
    return tuple(coded)


def search(files: Mapping[str, bytes], gone: Sequence[bytes], held: Sequence[bytes], rows: bytes) -> Search:
    """Which secrets are in the files. `gone`: must not be; `held`: are in `rows`, which are all values of all rows."""
    left, where = 0, set()
    for secret in gone:
        names = {name for name, data in files.items() if any(map(data.__contains__, _looked_for(secret, name)))}
        left += bool(names)
        where |= names
    seen = copies = 0
    for secret in held:
        parts = pieces(secret)
        found = [_times(files, piece) for piece in parts]
        # A row may go on in another page, in the middle of a piece.
        seen += any(found)
        copies += any(times > rows.count(piece) for times, piece in zip(found, parts, strict=True))
    return Search(len(gone), left, tuple(sorted(where)), len(held), seen, copies)


def _looked_for(secret: bytes, name: str) -> Iterator[bytes]:
    return (form for piece in pieces(secret) for form in forms(piece, name))


def _times(files: Mapping[str, bytes], piece: bytes) -> int:
    """How often a piece stands in the files."""
    return sum(data.count(form) for name, data in files.items() for form in forms(piece, name))


# -- the places -------------------------------------------------------------------------------------------------------


class Noting(StoreOver):
    """Notes the secrets of every row that is written, if only for a moment."""

    def __init__(self, inner: Store, seen: ObservedStore) -> None:
        super().__init__(inner)
        self.atomic = True
        self.seen = seen

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._durable.transaction() as inner:
            yield _NotingTransaction(self.seen, inner)


class _NotingTransaction(PassingTransaction):
    def __init__(self, seen: ObservedStore, inner: Transaction) -> None:
        super().__init__(inner)
        self._seen = seen

    def put(self, table: Table, key: bytes, value: bytes, *, version: int) -> int:
        new = super().put(table, key, value, version=version)
        self._seen.committed({(table.value, key): (table, Row(value, new))})
        return new


class _Crowd:
    """Rows of many lengths that come, change and go, so that the engine moves those that stay."""

    def __init__(self) -> None:
        self.gone: list[bytes] = []
        self.held: list[bytes] = []

    def come(self, store: Store) -> None:
        """Write them, and delete or replace half of them."""
        source = Random(1)  # noqa: S311 - the same rows each time
        rows = {source.randbytes(20): self._value(source) for _ in range(CROWD)}
        keys = list(rows)
        for some in (keys[start::4] for start in range(4)):
            with store.transaction() as tx:
                for key in some:
                    tx.put(Table.APPLICATION, key, rows[key], version=0)
        with store.transaction() as tx:
            for number, key in enumerate(keys[::2]):
                self.gone += self._secrets(rows.pop(key))
                if number % 2:
                    tx.delete(Table.APPLICATION, key, version=1)
                else:
                    rows[key] = self._value(source)
                    tx.put(Table.APPLICATION, key, rows[key], version=1)
        self.held += [secret for value in rows.values() for secret in self._secrets(value)]

    @staticmethod
    def _value(source: Random) -> bytes:
        # As long as a session is with few receiving chains, or with all that it may have.
        return source.randbytes(source.randint(300, 700))

    @staticmethod
    def _secrets(value: bytes) -> list[bytes]:
        return [value[start : start + SECRET_BYTES] for start in (0, len(value) // 2, len(value) - SECRET_BYTES)]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the operation ended, and what the search found, if the store could be read afterwards."""

    outcome: Outcome
    code: str | None
    found: Search | None


def on_file(
    path: Path,
    whole: MemoryStore,
    how: str,
    *,
    opened: Callable[[], Store],
    reopen: Reopen,
    call: Callable[[Store], object],
) -> Ended:
    """Carry out `call` on the file at `path`, which holds the rows of `whole`, and search all files of its folder."""
    before = ObservedStore(whole)
    crowd = _Crowd()
    with ExitStack() as stack:
        reader = stack.enter_context(closing(_reader(path))) if how == "file-read-meanwhile" else None
        if how == "file-closed":
            # Somebody else has it open, and does nothing: then the log is not deleted, and has to be emptied.
            stack.enter_context(closing(_idle(path)))
        outcome, code, store = Outcome.DONE, None, None
        try:
            store = reopen(opened)
            if how == "file-crowded":
                crowd.come(store)
            call(Noting(store, before))
        except ProtocolError as error:
            outcome, code = Outcome.REFUSED, error.code
        except Exception as error:
            outcome, code = Outcome.DIED, type(error).__name__
        rows = None if store is None else copy_of(store)
        if store is None or rows is None:
            return Ended(outcome, code, None)
        folder = path.parent
        match how:
            case "file-closed" | "file-crowded" | "older-file-closed":
                store.close()
            case "file-running":
                _commit(store, FURTHER)
            case "file-read-meanwhile":
                _commit(store, FURTHER)
                if reader is not None:
                    reader.close()
                _commit(store, 1)
            case "file-killed":
                # What a killed process leaves is what is there now. Its commits and those of the next count together.
                folder = path.parent / "killed"
                folder.mkdir()
                for name, data in read(path.parent, stack).items():
                    (folder / name).write_bytes(data)
                store.close()
                store = reopen(lambda: SQLiteStore(folder / path.name))
                _commit(store, FURTHER)
            case _:
                # A JSON file is searched at once.
                pass
        files = read(folder, stack)
        store.close()
    after = ObservedStore(rows)
    values = b"\0".join(row.value for shelf in rows.snapshot().values() for row in shelf.values())
    gone = [secret for secret in before.ever if secret and secret not in after.ever] + crowd.gone
    held = [secret for secret in after.ever if secret] + crowd.held
    return Ended(outcome, code, search(files, gone, held, values))


def copy_of(store: Store) -> MemoryStore | None:
    """A copy of what the store holds; None where it cannot be read."""
    try:
        return MemoryStore(rows=rows_of(store))
    except ProtocolError:
        return None


def read(folder: Path, stack: ExitStack) -> dict[str, bytes]:
    """All files of the folder. They stay open as long as `stack`: to close one drops the engine's own locks on it."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {path.name: stack.enter_context(path.open("rb")).read() for path in files}


def _idle(path: Path) -> sqlite3.Connection:
    """Somebody who has the file open."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("SELECT count(*) FROM session").fetchall()
    return other


def _reader(path: Path) -> sqlite3.Connection:
    """Somebody who reads the file, and goes on reading: what it sees must stay in the log."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM session").fetchall()
    return reader


def _commit(store: Store, times: int) -> None:
    """So many commits that delete nothing."""
    for number in range(times):
        with store.transaction() as tx:
            row = tx.get(Table.APPLICATION, b"a later commit")
            version = 0 if row is None else row.version
            tx.put(Table.APPLICATION, b"a later commit", b"%d" % number, version=version)


def json_file(whole: MemoryStore, folder: Path) -> Path:
    """A JSON file with the same rows."""
    path = folder / "pawl.json"
    path.write_bytes(write_json(whole.store_id, whole.records()))
    return path


def leave_draft(path: Path) -> None:
    """A file half-way written by a process that was killed then: all rows, under the name that drafts have."""
    (path.parent / f".pawl-{path.name}.new").write_bytes(path.read_bytes())
