"""Sealed records: a stored value with a checksum that is bound to its store, its place and its version.

A sealed record is

    checksum (16 bytes)   schema of the record (1 byte)   value (0 to 65,536 bytes)

and the checksum is BLAKE2b over the store's id, the table, the key, the record's version, the schema and the value. A
flipped bit, a record in another key's place, of another store or of another version is refused by name.

It finds accidents: bad media, half-restored backups, a hand that edits rows. It is no MAC: there is no key in it that
whoever may write the store does not have, so that such a one can seal what he likes, or put back all of an older store.
Source: RFC 7693 (BLAKE2); sqlite.org, "The Checksum VFS Shim", for the same idea at the level of pages.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from pawl.errors import CorruptRecord, InvalidArgument, UnsupportedSchema
from pawl.limits import MAX_RECORD_BYTES
from pawl.storage.contract import Row, Table
from pawl.storage.rows import MAX_VERSION, check_row

CHECKSUM_BYTES: Final = 16
"""Two records that differ share a checksum of 128 bits by no accident that will ever happen."""

SEAL_BYTES: Final = CHECKSUM_BYTES + 1
"""What sealing adds to a value."""

MAX_SEALED_BYTES: Final = SEAL_BYTES + MAX_RECORD_BYTES
"""Bytes of one sealed record."""

STORE_ID_BYTES: Final = 16
"""A store's id: drawn at random when the store is made, the same for its whole life, and no secret."""

RECORD_SCHEMA: Final = 1
"""How this release writes the values of records (`pawl.wire.records`); counts up when that changes."""

_PERSON: Final = b"pawl record"
"""Keeps these checksums apart from any other use of BLAKE2b."""

_SCHEMA_BYTE: Final = bytes([RECORD_SCHEMA])


def is_store_id(value: object) -> bool:
    """Whether `value` is 16 bytes."""
    return type(value) is bytes and len(value) == STORE_ID_BYTES


class Seal:
    """Seals the records of one store, and opens them. `store_id`: 16 bytes. Raises: InvalidArgument."""

    __slots__ = ("_begun", "store_id")

    def __init__(self, store_id: bytes) -> None:
        if not is_store_id(store_id):
            raise InvalidArgument("a store's id is exactly 16 bytes")
        self.store_id: Final = store_id
        # What all checksums of one table begin with is computed once.
        self._begun = {}
        for table in Table:
            begun = blake2b(digest_size=CHECKSUM_BYTES, salt=store_id, person=_PERSON)
            begun.update(b"%b\0" % table.value.encode())
            self._begun[table.value] = begun

    def _checksum(self, table: Table, key: bytes, version: int, rest: bytes) -> bytes:
        """Over all that a record is bound to. `rest`: schema byte and value."""
        checksum = self._begun[table._value_].copy()
        # Of fixed length before the key, and the key's length before it: no two records are the same bytes (ATM-08).
        checksum.update(b"%b%b%b%b" % (version.to_bytes(8, "big"), len(key).to_bytes(2, "big"), key, rest))
        return checksum.digest()

    def close(self, table: Table, key: bytes, value: bytes, version: int) -> bytes:
        """The sealed record of `value`, which is written to `table` under `key` as its `version` (from 1)."""
        rest = _SCHEMA_BYTE + value
        return self._checksum(table, key, version, rest) + rest

    def is_for(self, table: Table, key: bytes, sealed: object, version: object) -> bool:
        """Whether what a medium gave back, under whatever key, is whole and was written for this one."""
        if type(sealed) is not bytes or type(version) is not int or not 1 <= version <= MAX_VERSION:
            return False
        rest = sealed[CHECKSUM_BYTES:]
        return bool(rest) and self._checksum(table, key, version, rest) == sealed[:CHECKSUM_BYTES]

    def open(self, table: Table, key: object, sealed: object, version: object) -> tuple[bytes, Row]:
        """The row in the sealed record that a medium gave back for `key` at `version`.

        Raises: CorruptRecord (damaged, or another's place, version or store), UnsupportedSchema (a newer one).
        """
        # Check
        place, row = check_row(table, key, sealed, version, most=MAX_SEALED_BYTES)
        # What is damaged is nobody's value (ATM-06). Nothing secret is compared.
        rest = row.value[CHECKSUM_BYTES:]
        if not rest or self._checksum(table, place, row.version, rest) != row.value[:CHECKSUM_BYTES]:
            text = f"{table.value}: a record is damaged, or is that of another key, version or store"
            raise CorruptRecord(text, key=place, version=row.version)
        # Looked at last: a byte that is whole was written so (ATM-07).
        if rest[0] != RECORD_SCHEMA:
            raise UnsupportedSchema(f"{table.value}: a record has schema {rest[0]}, this release knows {RECORD_SCHEMA}")
        return place, Row(rest[1:], row.version)
