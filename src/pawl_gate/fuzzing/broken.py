"""What a harness raises where an input breaks what it is held to."""

from __future__ import annotations


class Broken(AssertionError):
    """An invariant does not hold. The text begins with its id."""

    def __init__(self, id_: str, what: str) -> None:
        super().__init__(f"{id_} does not hold: {what}")
        self.ids = (id_,)
