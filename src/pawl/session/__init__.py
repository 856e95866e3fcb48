"""Sessions: X3DH, the double ratchet and the message cipher, as functions of immutable values."""
