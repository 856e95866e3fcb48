"""Addresses: what is one, and what is refused before anything is done with it."""

from __future__ import annotations

import pytest

from pawl import ProtocolAddress
from pawl.errors import InvalidArgument


class Text(str):
    """A str that could compare as it likes."""

    __slots__ = ()


class Number(int):
    """An int that could compare as it likes."""


@pytest.mark.parametrize("name", ["a", "a.b", "ä" * 256, "x" * 512, "\0"])
@pytest.mark.parametrize("device_id", [0, 1, 127])
def test_addresses(name: str, device_id: int) -> None:
    """A name has 1 to 512 UTF-8 bytes, a device id is 0 to 127."""
    address = ProtocolAddress(name, device_id)
    assert str(address) == f"{name}.{device_id}"
    assert address == ProtocolAddress(name, device_id)


@pytest.mark.parametrize("name", [None, b"alice", bytearray(b"alice"), 1, ["alice"], Text("alice")])
def test_names_of_another_type(name: object) -> None:
    """A name is a str and nothing that resembles one."""
    with pytest.raises(InvalidArgument, match="a str and an int"):
        ProtocolAddress(name, 1)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("device_id", [None, True, False, 1.0, "1", b"1", Number(1)])
def test_device_ids_of_another_type(device_id: object) -> None:
    """A device id is an int: a bool, which is one for Python, is none here."""
    with pytest.raises(InvalidArgument, match="a str and an int"):
        ProtocolAddress("alice", device_id)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("name", ["", "x" * 513, "ä" * 256 + "x", "x" * 10**6])
def test_names_of_another_length(name: str) -> None:
    """The length is counted in UTF-8 bytes, as it is stored."""
    with pytest.raises(InvalidArgument, match="1 to 512 bytes"):
        ProtocolAddress(name, 1)


@pytest.mark.parametrize("name", ["\ud800", "alice\udfff"])
def test_names_that_are_no_text(name: str) -> None:
    """Half of a surrogate pair has no UTF-8 form; it is refused by name, not by a UnicodeEncodeError."""
    with pytest.raises(InvalidArgument, match="encodable as UTF-8"):
        ProtocolAddress(name, 1)


@pytest.mark.parametrize("device_id", [-1, 128, 2**32, -(10**400), 10**400])
def test_device_ids_out_of_range(device_id: int) -> None:
    """Device ids are 0 to 127."""
    with pytest.raises(InvalidArgument, match="0 to 127"):
        ProtocolAddress("alice", device_id)
