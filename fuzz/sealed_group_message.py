#!/usr/bin/env python3
"""A changed and signed group message is read as it should be, or refused. Boundary: signed bytes -> sender key state.

The harness knows each chain: the attacker's moves are signed, chains are given and given again, the receiver's store
is restored (boundary-message).
"""

from harness import enter

enter("sealed_group_message")
