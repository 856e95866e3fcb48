"""Fallbacks for peers that write what this library would refuse: each behind an option, all off by default (IDC-09)."""

from __future__ import annotations

from dataclasses import dataclass

from pawl.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Compatibility:
    """Which departures of a peer's writer are read; each use is told as `CompatibilityUsed`. Raises: InvalidArgument.

    Switch an option on only for peers that are known to need it. Source: X3DH, sections 2.5 and 3.3; what existing
    implementations write.
    """

    prekey_id_zero_as_absent: bool = False
    """A prekey message that names the one-time prekey 0, where there is none, is read as one that names none."""
    untyped_public_keys: bool = False
    """Public keys of 32 bytes, without the type byte 0x05, are read. The MAC stays over the bytes received."""

    def __post_init__(self) -> None:
        if not {type(self.prekey_id_zero_as_absent), type(self.untyped_public_keys)} <= {bool}:
            raise InvalidArgument("an option of Compatibility is a bool")


STRICT = Compatibility()
"""No fallback at all."""
