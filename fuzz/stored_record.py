#!/usr/bin/env python3
"""Any byte string is a record as it was written, or is refused as corrupt. Boundary: rows of a store -> values.

Each kind of record; what is read is written again, by us and by the protobuf package (boundary-store).
"""

from harness import enter

enter("stored_record")
