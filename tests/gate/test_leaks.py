"""Secrets in texts: found in every form in which one is usually written, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest

from pawl_gate.key_search import hmac_under
from pawl_gate.leaks import LeakSearch, leaked

SECRET = hashlib.sha256(b"a secret").digest()
OTHERS = [hashlib.sha256(bytes([number])).digest() for number in range(20)]
AWKWARD = b"')\"\\" + SECRET[4:]
"""With quotes, a bracket and a backslash, which Python escapes or a pattern may stop at."""

FORMS: list[tuple[str, Callable[[bytes], str]]] = [
    ("in hexadecimal", bytes.hex),
    ("in hexadecimal", lambda secret: secret.hex(":").upper()),
    ("in hexadecimal", lambda secret: "00ff" + secret.hex() + "00"),
    *(("in base64", lambda secret, n=n: base64.b64encode(bytes(n) + secret + b"more").decode()) for n in range(3)),  # type: ignore[misc]
    ("in base64", lambda secret: base64.urlsafe_b64encode(b"before" + secret).decode().rstrip("=")),
    ("as Python writes bytes", repr),
    ("as Python writes bytes", lambda secret: f"Key(data={b'before' + secret + b'after'!r})"),
    ("as Python writes bytes", lambda secret: f"{bytearray(secret)!r}"),
    # No literal: what Python writes for the bytes, with something behind it that it would not write.
    ("as Python writes bytes", lambda secret: repr(secret)[:-1] + "\\x" + repr(secret)[1]),
    ("as a list of numbers", lambda secret: str(list(secret))),
    ("as a number", lambda secret: str(int.from_bytes(secret, "big"))),
    ("as a number", lambda secret: f"x={int.from_bytes(secret, 'little')},"),
]


@pytest.mark.parametrize("secret", [SECRET, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize(("form", "write"), FORMS)
def test_a_secret_is_found(secret: bytes, form: str, write: Callable[[bytes], str]) -> None:
    """KEY-06: "in any textual form": the form is named, and where it stood."""
    text = f"before {write(secret)} after"
    assert leaked([("a text", text)], [*OTHERS, secret]) == (f"a text: {form}",)


@pytest.mark.parametrize(("form", "write"), FORMS)
def test_what_is_no_secret_is_not_found(form: str, write: Callable[[bytes], str]) -> None:
    """A public key in the same form is no finding."""
    del form
    assert leaked([("a text", write(SECRET))], OTHERS) == ()


@pytest.mark.parametrize(("form", "write"), FORMS)
def test_a_search_that_remembers_finds_the_same(form: str, write: Callable[[bytes], str]) -> None:
    """A secret that comes later is found in a text that was searched before; one that is none any more is not."""
    text = f"before {write(SECRET)} after"
    search = LeakSearch()
    assert search.leaked([("a text", text)], OTHERS[:5]) == ()
    assert search.leaked([("a text", text)], [*OTHERS[:5], SECRET]) == (f"a text: {form}",)
    assert search.leaked([("a text", text)], [*OTHERS[:5], SECRET, *OTHERS[5:]]) == (f"a text: {form}",)
    # Another store, with other secrets.
    assert search.leaked([("a text", text)], OTHERS) == ()


@pytest.mark.parametrize("key", [bytes(32), SECRET, b"k" * 64, b""], ids=["zeros", "some", "a block", "empty"])
@pytest.mark.parametrize("message", [b"", b"message", bytes(200)], ids=["empty", "short", "long"])
def test_hmac_for_many_messages(key: bytes, message: bytes) -> None:
    """RFC 2104: the attacker's quick form is the standard library's."""
    mac_of = hmac_under(key)
    assert mac_of(b"another first") == hmac.digest(key, b"another first", "sha256")
    assert mac_of(message) == hmac.digest(key, message, "sha256")
