"""What a test is called after one of its values."""

from __future__ import annotations


def label(value: object) -> str:
    r"""The value's repr, its bytes spelled with / for \, which pytest escapes once more each time it collects.

    Mutation testing collects again and again in one process, and asks for tests by name.
    """
    return repr(value).replace("\\", "/")
