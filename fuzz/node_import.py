#!/usr/bin/env python3
"""Any document is taken over whole, or refused and nothing is stored. Boundary: another library's state -> a store.

What is taken over can be read, record by record (boundary-api).
"""

from harness import enter

enter("node_import")
