"""The search for deleted secrets sees what is there: whole, in part, and in the form that a file has it in."""

from __future__ import annotations

from base64 import b64encode
from random import Random

import pytest

from pawl_gate.targets.deletion import pieces, search

SECRET, OTHER = Random(1).randbytes(32), Random(2).randbytes(32)


@pytest.mark.parametrize("before", range(7))
def test_every_form_is_seen(before: int) -> None:
    """As bytes in a database and its log, and in Base64 from any place on in JSON."""
    data = bytes(before) + SECRET + b"after"
    for files in ({"pawl.db": data}, {"pawl.db-wal": data}, {".pawl-pawl.json.new": b64encode(data)}):
        found = search(files, [SECRET], [], b"")
        assert (found.gone, found.left, found.where) == (1, 1, tuple(files))
        # Control: it does not see what is not there.
        assert search(files, [OTHER], [], b"").left == 0


@pytest.mark.parametrize("start", range(0, 32, 8))
def test_a_part_is_enough(start: int) -> None:
    """What a shorter row was written over, or another page goes on with."""
    part = bytes(40) + SECRET[start : start + 8] + bytes(40)
    assert search({"pawl.db": part}, [SECRET], [], b"").left == 1
    assert search({"pawl.json": b64encode(part)}, [SECRET], [], b"").left == 1


def test_what_is_there_is_counted() -> None:
    """A search that misses a secret of a row says so, and so does one that finds it once more than it should."""
    found = search({"pawl.db": SECRET}, [], [SECRET, OTHER], SECRET + OTHER)
    assert (found.held, found.seen, found.copies) == (2, 1, 0)
    assert search({"pawl.db": SECRET + b"." + SECRET}, [], [SECRET], SECRET).copies == 1
    assert search({"pawl.db": SECRET + b"." + SECRET}, [], [SECRET], SECRET + SECRET).copies == 0
    assert search({"pawl.db": SECRET + pieces(SECRET)[2]}, [], [SECRET], SECRET).copies == 1
