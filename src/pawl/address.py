"""Addresses: a name and a device of it."""

from __future__ import annotations

from dataclasses import dataclass

from pawl.errors import InvalidArgument
from pawl.limits import MAX_DEVICE_ID, MAX_NAME_BYTES


@dataclass(frozen=True, slots=True, order=True)
class ProtocolAddress:
    """One device of one user: a `name` of 1 to 512 UTF-8 bytes and a `device_id` of 0 to 127.

    All devices of a name share one identity key. Raises: InvalidArgument.
    """

    name: str
    device_id: int

    def __post_init__(self) -> None:
        if type(self.name) is not str or type(self.device_id) is not int:
            raise InvalidArgument("an address is a str and an int")
        try:
            length = len(self.name.encode("utf-8"))
        except UnicodeEncodeError:
            raise InvalidArgument("a name must be encodable as UTF-8") from None
        if not 1 <= length <= MAX_NAME_BYTES:
            raise InvalidArgument(f"a name has 1 to {MAX_NAME_BYTES} bytes")
        if not 0 <= self.device_id <= MAX_DEVICE_ID:
            raise InvalidArgument(f"a device id is 0 to {MAX_DEVICE_ID}")

    def __str__(self) -> str:
        return f"{self.name}.{self.device_id}"
