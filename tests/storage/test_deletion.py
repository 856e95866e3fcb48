"""What stays in a store's bytes: no secret that was deleted (KEY-05).

Searched are all files in the store's folder, as another process reads them. Not covered: what a file system, a medium
or a backup keeps of files as they were.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pawl import SQLiteStore
from pawl.storage import Table

Bytes = Callable[[random.Random], bytes]


def pieces(secret: bytes) -> list[bytes]:
    """A secret that was partly overwritten, or that goes on in another page, is there in part."""
    return [secret[start : start + 8] for start in range(0, len(secret), 8)]


def among(folder: Path, secrets: set[bytes]) -> set[bytes]:
    """Those of which a piece stands in the files of a folder."""
    everything = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    return {secret for secret in secrets if any(piece in everything for piece in pieces(secret))}


@pytest.mark.parametrize("most", [10, 300, 900])
@pytest.mark.parametrize("seed", range(2))
def test_rows_that_moved(tmp_path: Path, most: int, seed: int) -> None:
    """KEY-05: the engine moves rows from page to page as tables grow and shrink, and leaves their bytes behind there."""
    source = random.Random(seed)
    store = SQLiteStore(tmp_path / "pawl.db")
    live: dict[bytes, tuple[bytes, int]] = {}
    gone: set[bytes] = set()
    for _ in range(60):
        with store.transaction() as tx:
            for _ in range(source.randint(1, 30)):
                key = source.choice(list(live)) if len(live) > 300 or (live and source.random() < 0.6) else b""
                secret = source.randbytes(32)
                value = bytes(source.randint(0, most)) + secret + bytes(source.randint(0, most))
                if not key:
                    key = source.randbytes(source.randint(4, 90))
                    tx.put(Table.SESSION, key, value, version=0)
                    live[key] = secret, 1
                    continue
                old, version = live.pop(key)
                gone.add(old)
                if source.random() < 0.6:
                    live[key] = secret, tx.put(Table.SESSION, key, value, version=version)
                else:
                    tx.delete(Table.SESSION, key, version=version)
    store.close()
    there = {secret for secret, _ in live.values()}
    # Control: the search sees what is there.
    assert among(tmp_path, there) == there
    assert among(tmp_path, gone) == set()
    # What moved left nothing behind, which would stay where it is when the row is deleted.
    everything = (tmp_path / "pawl.db").read_bytes()
    assert {piece for secret in there for piece in pieces(secret) if everything.count(piece) > 1} == set()
