#!/usr/bin/env python3
"""Any byte string is a store as it was written, or is refused by name. Boundary: a JSON file -> rows.

The harness puts a valid checksum over what it changed (boundary-store).
"""

from harness import enter

enter("json_store")
