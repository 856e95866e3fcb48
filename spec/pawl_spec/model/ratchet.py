"""The double ratchet in terms: how a session turns, and which message keys it has.

Source: Double Ratchet, section 3; the limits are the target's declared ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from pawl_spec.history import Limits, Profile
from pawl_spec.model.state import Chain, Message, Received, Session
from pawl_spec.model.terms import Refusal, Term, Terms


@dataclass(frozen=True, slots=True)
class Ratchet:
    """The steps, under the target's limits and profile. No session given to it is changed."""

    terms: Terms
    limits: Limits
    profile: Profile

    def root_step(self, root: Term, mine: Term, theirs: Term) -> tuple[Term, Term]:
        """The next root key, and the key of a new chain."""
        shared = self.terms.agree(mine, theirs)
        return self.terms("root", root, shared), self.terms("chain", root, shared)

    def mac(self, key: Term, sender: Term, receiver: Term, m: Message) -> Term:
        """The code over both identities and everything in the message."""
        return self.terms("mac", key, sender, receiver, m.version, m.ratchet, m.counter, m.previous, m.body)

    def receive(self, identity: Term, session: Session, message: Message, step: int) -> Received:
        """One receiving step of a party of that identity, at that step of the history. Raises: Refusal."""
        known = chain_of(session, message.ratchet)
        stepped, chain = session, known
        if chain is None:
            stepped, chain = self._dh_step(session, message, step)
        waiting, used = max(message.counter - chain.next, 0), message.counter < chain.next
        chain = self._advance(chain, message.counter)
        key = self.terms("message-key", chain.base, message.counter)
        if message.mac != self.mac(key, session.remote, identity, message):
            raise Refusal("bad-mac", "AUT-01")
        chains = tuple([chain if c.ratchet == chain.ratchet else c for c in stepped.receiving])
        stepped = stepped._replace(receiving=self._bounded(chains), pending=None)
        # Those that were there and those that came, less the one that is used and those that are left, are pushed out.
        pushed = _kept(session.receiving) + waiting - used - _kept(stepped.receiving)
        return Received(stepped, message.handle, starts_chain=known is None, keys=waiting + pushed)

    def _dh_step(self, session: Session, message: Message, step: int) -> tuple[Session, Chain]:
        """A new ratchet key of the peer: a receiving chain for it, then a new key of one's own."""
        receiving = session.receiving
        if self.profile.closes_chains and receiving:
            filled = receiving[0]
            if message.previous >= filled.next:
                filled = self._advance(filled, message.previous + 1, fill=True)
            receiving = (filled._replace(closed=True), *receiving[1:])
        root, base = self.root_step(session.root, session.ratchet, message.ratchet)
        chain = Chain(message.ratchet, base, born=step)
        mine = self.terms.fresh("ratchet")
        root, sending = self.root_step(root, mine, message.ratchet)
        most = self.limits.receiving_chains
        receiving = (chain, *receiving)
        stepped = session._replace(
            root=root,
            ratchet=mine,
            sending=sending,
            counter=0,
            previous=max(session.counter - 1, 0),
            receiving=receiving if most is None else receiving[:most],
        )
        return stepped, chain

    def _advance(self, chain: Chain, counter: int, *, fill: bool = False) -> Chain:
        """Take the key at `counter`, keeping those before it; or with `fill` only keep those before it."""
        if counter < chain.next:
            if counter not in chain.kept:
                raise Refusal("duplicate-message", "CTR-03")
            return chain._replace(kept=chain.kept - {counter})
        if chain.closed:
            raise Refusal("duplicate-message", "CTR-04")
        # Whoever only fills takes the keys before `counter`: the furthest is one nearer.
        if counter - fill - chain.next > self.limits.forward_jump:
            raise Refusal("too-far-ahead", "CTR-04")
        kept = chain.kept.union(range(chain.next, counter))
        most = self.limits.kept_per_chain
        if most is not None and len(kept) > most:
            kept = frozenset(sorted(kept)[-most:])
        return chain._replace(next=counter if fill else counter + 1, kept=kept)

    def _bounded(self, chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
        """Over the session's limit, drop the oldest keys of the oldest chain first."""
        most = self.limits.kept_per_session
        total = _kept(chains)
        if most is None or total <= most:
            return chains
        out = list(chains)
        for at in reversed(range(len(out))):
            drop = min(total - most, len(out[at].kept))
            out[at] = out[at]._replace(kept=frozenset(sorted(out[at].kept)[drop:]))
            total -= drop
        return tuple(out)


def chain_of(session: Session, ratchet: Term) -> Chain | None:
    """The receiving chain for a ratchet key of the peer, if the session has one."""
    for chain in session.receiving:
        if chain.ratchet == ratchet:
            return chain
    return None


def _kept(chains: tuple[Chain, ...]) -> int:
    return sum([len(chain.kept) for chain in chains])
