"""A PostgreSQL server, as the tests of stores have it."""

from __future__ import annotations

from tests.storage.conftest import postgres_server

__all__ = ["postgres_server"]
