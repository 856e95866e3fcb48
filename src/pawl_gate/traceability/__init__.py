"""Traceability: from a line of the threat model to its threats, invariants, code, tests, fuzz inputs and controls.

`chain` gathers what the tree says, `orphans` says which links are missing, `snapshot` keeps it as a committed file.
"""
