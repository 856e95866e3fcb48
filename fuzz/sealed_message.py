#!/usr/bin/env python3
"""Any change of a message behind a valid MAC is read as it should be, or refused. Boundary: authentic bytes -> session.

The harness knows each key: the attacker's moves are re-MACed, messages come twice, the receiver's store is restored
(boundary-message).
"""

from harness import enter

enter("sealed_message")
