"""Whether a PostgreSQL server can be made here."""

from __future__ import annotations

import os

import pytest

from pawl_gate.trials.postgres_server import programs


def need(store: str) -> None:
    """Skip without the server's programs; where CI is set that is a failure."""
    if store == "postgres" and programs() is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("there is no PostgreSQL here: apt-get install postgresql")


def marked(store: str, *values: object) -> object:
    """A test's parameters, with the marker where they need a server."""
    return pytest.param(*values, marks=pytest.mark.postgres) if store == "postgres" else pytest.param(*values)
