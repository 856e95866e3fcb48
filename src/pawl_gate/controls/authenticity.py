"""Authenticity and conformance: controls that break AUT and CNF."""

from __future__ import annotations

from pawl_gate.controls.catalogue import control
from pawl_gate.controls.variants import Patched


class _AcceptsAnyMac:
    """Stands for the module `hmac` where a received code is compared."""

    @staticmethod
    def compare_digest(one: bytes, other: bytes) -> bool:
        """They are always the same."""
        return len(one) == len(other)


@control("mac-unchecked", "AUT-01")
class MacUnchecked(Patched):
    """The message authentication code is not compared."""

    patches = (("pawl.session.cipher.hmac", _AcceptsAnyMac),)
