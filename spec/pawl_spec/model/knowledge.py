"""What an attacker can derive who recorded all traffic and took copies of states.

The attacker knows every public key and every ciphertext. From a state it has private keys, root keys, chains from a
position on, and kept message keys. What follows from them is closed under the protocol's rules, which lead one way:

* an agreement, from either private key;
* X3DH's secret, from all of its agreements;
* a root key and the chain beside it, from the root key (or X3DH's secret) before and the agreement;
* the message keys of a chain, from its position on: of a session's chain or a group's.

It is passive: it changes no message. Of keys that it smuggled in by a forged bundle it has the private half.
Source: X3DH, section 4; Double Ratchet, sections 2 and 8.2 (recovery from compromise).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pawl_spec.model.state import GroupMessage, Message, Party
from pawl_spec.model.terms import Term, Terms


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What was taken. A value: taking more gives another one, so that a search can fork and compare it."""

    private: frozenset[Term] = frozenset()
    """Key pairs, named by their public half, of which the attacker has the private half."""
    secrets: frozenset[Term] = frozenset()
    """Root keys and message keys."""
    chains: frozenset[tuple[Term, int]] = frozenset()
    """Chains, each with a position from which on it is known."""
    taken: int = 0
    """States that were taken."""
    recorded: int = 0
    """Messages that had been sent when a state was last taken."""
    group_recorded: int = 0
    """Group messages likewise."""

    def take(self, terms: Terms, party: Party, recorded: int, group_recorded: int = 0) -> Knowledge:
        """With everything that the party has stored."""
        private = {party.identity, *party.prekeys.values(), *(held.key for held in party.signed_prekeys)}
        secrets: set[Term] = set()
        chains: set[tuple[Term, int]] = set()
        for session in (each for sessions in party.sessions.values() for each in sessions):
            private.add(session.ratchet)
            secrets.add(session.root)
            chains.add((session.sending, session.counter))
            for chain in session.receiving:
                # Of a closed chain only the kept keys are left.
                if not chain.closed:
                    chains.add((chain.base, chain.next))
                secrets.update(terms("message-key", chain.base, counter) for counter in chain.kept)
        chains.update((own.base, own.next) for own in party.own_chains.values())
        for held in (chain for membership in party.memberships.values() for chain in membership.chains):
            chains.add((held.base, held.next))
            secrets.update(group_key(terms, held.base, iteration) for iteration in held.kept)
        return replace(
            self,
            private=self.private | private,
            secrets=self.secrets | secrets,
            chains=self.chains | chains,
            taken=self.taken + 1,
            recorded=recorded,
            group_recorded=group_recorded,
        )

    def reads(self, terms: Terms, messages: Sequence[Message]) -> frozenset[int]:
        """Handles of the messages whose key follows from what was taken."""
        known = self._derived(terms)
        first: dict[object, int] = {}
        for base, position in self.chains:
            first[base] = min(position, first.get(base, position))
        found = set()
        for message in messages:
            chain = terms.parts(message.key)[1]
            if message.key in known or chain in known or (chain in first and first[chain] <= message.counter):
                found.add(message.handle)
        return frozenset(found)

    def group_reads(self, messages: Sequence[GroupMessage]) -> frozenset[int]:
        """Handles of the group messages whose key follows from what was taken; the attacker's own are left out.

        No Diffie-Hellman step leads out of a chain: whoever has it reads all that comes, until it is rotated.
        """
        first: dict[Term, int] = {}
        for base, position in self.chains:
            first[base] = min(position, first.get(base, position))
        return frozenset(
            m.handle
            for m in messages
            if not m.crafted and (m.key in self.secrets or first.get(m.base, m.iteration + 1) <= m.iteration)
        )

    def _derived(self, terms: Terms) -> set[object]:
        """Every secret that follows. One pass: parts are numbered before what is made of them."""
        known: set[object] = set(self.secrets)
        private = self.private
        for number, (kind, *parts) in enumerate(terms.all()):
            if kind == "dh":
                if parts[0] in private or parts[1] in private:
                    known.add(number)
            elif kind in ("x3dh", "root", "chain") and all(part is None or part in known for part in parts):
                known.add(number)
        return known


def group_key(terms: Terms, base: Term, iteration: int) -> Term:
    """The message key at an iteration of a group's chain."""
    return terms("group-key", base, iteration)


@dataclass(frozen=True, slots=True)
class Healed:
    """From the message `first` on, no message of this session is readable; None: its last one still is."""

    one: int
    other: int
    first: int | None


def healing(messages: Iterable[Message], reads: frozenset[int], since: int) -> tuple[Healed, ...]:
    """For each session with readable messages that were sent after the state was taken: where it is healed."""
    sessions: dict[Term, list[Message]] = {}
    for message in messages:
        if message.handle >= since:
            sessions.setdefault(message.session, []).append(message)
    out = []
    for sent in sessions.values():
        lost = [at for at, message in enumerate(sent) if message.handle in reads]
        if lost:
            after = sent[lost[-1] + 1 :]
            ends = sorted((sent[0].sender, sent[0].receiver))
            out.append(Healed(ends[0], ends[1], after[0].handle if after else None))
    return tuple(out)
