"""Deleting many rows at once, damaged ones included: nobody is to read them any more."""

from __future__ import annotations

from typing import Final

from pawl.errors import CorruptRecord
from pawl.storage.contract import Table, Transaction

_BATCH: Final = 64
"""Rows deleted at a time where damaged ones go too: each of those costs one more look at so many."""


def delete_all(tx: Transaction, table: Table, prefix: bytes) -> int:
    """Delete all rows whose key starts with `prefix`, unread where they are damaged; how many there were.

    Raises: CorruptRecord (where not even the version is known).
    """
    deleted, more = 0, True
    while more:
        try:
            found = [(key, row.version) for key, row in tx.scan(table, prefix, limit=_BATCH)]
            more = len(found) == _BATCH
        except CorruptRecord as damaged:
            if damaged.key is None or damaged.version is None:
                raise
            found = [(damaged.key, damaged.version)]
        for key, version in found:
            tx.delete(table, key, version=version)
        deleted += len(found)
    return deleted
