"""What a run did, as bytes that are the same at each run of the same input on each machine."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from enum import Enum


def transcript(value: object) -> str:
    """A value in words. Sets are in order; what is measured and no part of the value (`compare=False`) is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        told = (f"{each.name}={transcript(getattr(value, each.name))}" for each in fields(value) if each.compare)
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, Set):
        return "{" + ", ".join(sorted(map(transcript, value))) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{transcript(key)}: {transcript(one)}" for key, one in value.items())) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(transcript, value)) + "]"
    return repr(value)
