"""Terms: keys without bytes.

A term is equal to another only if it was derived in the same way from the same parts, and no computation leads from a
term back to its parts.
"""

from __future__ import annotations

from collections.abc import Sequence

Term = int
"""Terms are numbered: equal numbers, equal terms."""

LOW: Term = -1
"""A public key of small order: every agreement with it is all zero."""


class Terms:
    """The table of all terms that were formed. The free algebra: equal parts give the equal term, and nothing else."""

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Term] = {}
        self._parts: list[tuple[object, ...]] = []

    def __call__(self, *parts: object) -> Term:
        """The term of these parts."""
        term = self._table.setdefault(parts, len(self._parts))
        if term == len(self._parts):
            self._parts.append(parts)
        return term

    def fork(self) -> Terms:
        """An independent copy, in which every term keeps its number."""
        twin = Terms.__new__(Terms)
        twin._table, twin._parts = self._table.copy(), self._parts.copy()
        return twin

    def parts(self, term: Term) -> tuple[object, ...]:
        """What a term was made of, for whoever follows derivations; no computation of the protocol does this."""
        return self._parts[term]

    def all(self) -> Sequence[tuple[object, ...]]:
        """The parts of every term, by number: a term's parts have smaller numbers than the term."""
        return self._parts

    def fresh(self, what: str) -> Term:
        """A term that nothing else can equal: a new key pair, named by its public half."""
        return self(what, len(self._table))

    def agree(self, one: Term, other: Term) -> Term:
        """Diffie-Hellman: the same for both sides. Raises: Refusal for a key of small order."""
        if LOW in (one, other):
            raise Refusal("invalid-key", "IDC-05")
        return self("dh", min(one, other), max(one, other))


class Refusal(Exception):
    """One reason to refuse: the code, and the invariant that is broken where it is not refused."""

    def __init__(self, code: str, rule: str) -> None:
        super().__init__(code)
        self.code = code
        self.rule = rule


class Refusals(Exception):
    """All the reasons for which a message is to be refused; a target may name any of them."""

    def __init__(self, reasons: list[Refusal]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = reasons
