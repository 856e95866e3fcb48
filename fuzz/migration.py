#!/usr/bin/env python3
"""An older store is migrated with all its rows, or refused and left as it is. Boundary: old files -> rows.

Rows that no store writes, tables that are missing, schemas that are none (boundary-store).
"""

from harness import enter

enter("migration")
