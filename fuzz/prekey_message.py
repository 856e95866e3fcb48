#!/usr/bin/env python3
"""Any byte string is a PreKeySignalMessage or a typed refusal, as a second reading has it. Boundary: bytes -> message.

What is accepted the protobuf package reads in the same way (boundary-message).
"""

from harness import enter

enter("prekey_message")
