"""What the findings about peers in Python share: a small protobuf editor, and how a finding is told.

Nothing but the standard library. Each finding exits 0 when it is reproduced and 1 when it is not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def outcome(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a call returned, or what it threw."""
    try:
        return call(*args, **named)
    # Of any class: how the peer refuses is what is looked at.
    except Exception as error:
        return error


def refused(value: Any) -> bool:
    """Whether an outcome is a refusal."""
    return isinstance(value, Exception)


def calls(holder: Any, name: str, call: Callable[..., Any], *args: Any) -> int:
    """How often a function of the peer, `holder.name`, is called while a call runs."""
    count, plain = 0, getattr(holder, name)

    def counting(*of: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return plain(*of, **named)

    setattr(holder, name, counting)
    try:
        call(*args)
    finally:
        setattr(holder, name, plain)
    return count


# -- protobuf, as far as these messages need it -----------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    """A field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in the order received."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            size = number()
            yield tag >> 3, data[at : at + size]
            at += size


PREKEY_ID, BASE_KEY, IDENTITY_KEY, INNER = 1, 2, 3, 4
"""Outer fields of a prekey message."""


def edit(message: bytes, **changes: int | bytes) -> bytes:
    """A prekey message with some outer fields changed or put first; nobody's key is needed for that."""
    numbers = {"prekey_id": PREKEY_ID, "base_key": BASE_KEY, "identity_key": IDENTITY_KEY, "inner": INNER}
    changed = {numbers[name]: value for name, value in changes.items()}
    kept = [(number, changed.pop(number, value)) for number, value in fields(message[1:])]
    return message[:1] + b"".join(field(*one) for one in [*changed.items(), *kept])


def outer(message: bytes, number: int) -> Any:
    """An outer field of a prekey message."""
    return dict(fields(message[1:]))[number]


def finding(id_: str, title: str, body: Callable[[], list[tuple[str, bool]]]) -> None:
    """Run a finding: `body` returns what was seen, statements and whether they hold; all true means reproduced."""
    print(f"{id_} · {title}")
    try:
        seen = body()
    # Whatever went wrong, nothing is shown by it.
    except Exception:
        seen = [(traceback.format_exc(), False)]
    for statement, held in seen:
        print(f"  {'seen    ' if held is True else 'NOT SEEN'} {statement}")
    reproduced = bool(seen) and all(held is True for _, held in seen)
    print("  reproduced" if reproduced else "  not reproduced")
    sys.exit(0 if reproduced else 1)


def run_all(folder: Path) -> int:
    """Run every finding of a folder with this interpreter: 0 when all are reproduced, 1 when one is not."""
    scripts = sorted(path for path in folder.glob("*.py") if re.match(r"[a-z]{3}-\d\d-", path.name))
    missed = [
        path.stem
        for path in scripts
        if subprocess.call([sys.executable, path], timeout=60) != 0  # noqa: S603 - the programs of that folder
    ]
    print(f"\nnot reproduced: {', '.join(missed)}" if missed else f"\nall {len(scripts)} findings reproduced")
    return 1 if missed or not scripts else 0
