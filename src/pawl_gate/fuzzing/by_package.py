"""The protobuf package's opinion of a message: the differential oracle of the strict scanner.

It is asked only about what the scanner accepted, and has to read the same values there; what it raises is told.
"""

from __future__ import annotations

from pawl.wire.records import DecodeError
from pawl.wire.signal_pb2 import (
    PreKeySignalMessage,
    SenderKeyDistributionMessage,
    SenderKeyMessage,
    SignalMessage,
)
from pawl_gate.fuzzing.broken import Broken


def _refused(error: DecodeError) -> Broken:
    return Broken("PAR-02", f"the protobuf package cannot read what is accepted: {error}")


def signal(body: bytes) -> tuple[object, ...]:
    """Ratchet key, counter, previous counter, ciphertext. Raises: Broken."""
    try:
        read = SignalMessage.FromString(body)
    except DecodeError as error:
        raise _refused(error) from None
    return read.ratchet_key, read.counter, read.previous_counter, read.ciphertext


def prekey(body: bytes) -> tuple[object, ...]:
    """Prekey id or None, base key, identity key, registration id, signed prekey id, message. Raises: Broken."""
    try:
        read = PreKeySignalMessage.FromString(body)
    except DecodeError as error:
        raise _refused(error) from None
    prekey_id = read.prekey_id if read.HasField("prekey_id") else None
    return (prekey_id, read.base_key, read.identity_key, read.registration_id, read.signed_prekey_id, read.message)


def group(body: bytes) -> tuple[object, ...]:
    """Distribution id, chain id, iteration, ciphertext. Raises: Broken."""
    try:
        read = SenderKeyMessage.FromString(body)
    except DecodeError as error:
        raise _refused(error) from None
    return read.distribution_uuid, read.chain_id, read.iteration, read.ciphertext


def distribution(body: bytes) -> tuple[object, ...]:
    """Distribution id, chain id, iteration, chain key, signing key. Raises: Broken."""
    try:
        read = SenderKeyDistributionMessage.FromString(body)
    except DecodeError as error:
        raise _refused(error) from None
    return read.distribution_uuid, read.chain_id, read.iteration, read.chain_key, read.signing_key
