"""A small symbolic protocol: what each operation must do.

Keys are terms, not bytes: a term is equal to another only if it was derived in the same way from the same parts, and no
computation leads from a term back to its parts. The model follows a history event by event. Before it looks at what
the target did, it says what may happen (`Expect`): accept with this plaintext, or refuse for one of these reasons; then
it follows the target. Where the target did what the model forbids, the model stops: what comes after has no meaning.

Source: X3DH sections 3.3 and 3.4; Double Ratchet section 3; the limits are the target's declared ones.
Not covered: what an attacker who compromised a device can derive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pawl_spec.history import Event, Hello, History, Limits, Outcome, Profile
from pawl_spec.trace import COUNTER_DELTAS, FORGERIES, JUNK, PARTIES, TAMPERS, VERSION_BYTES, Kind

Term = int
"""Terms are numbered: equal numbers, equal terms."""

LOW: Term = -1
"""A public key of small order: every agreement with it is all zero."""

PARSE_REFUSALS = frozenset({"malformed-message", "unknown-version", "message-too-large", "invalid-key"})

MISSING = frozenset({"no-session", "bad-mac", "untrusted-identity", "unknown-signed-prekey", "unknown-prekey"})
"""Refusals of bytes that name something which the receiver does not have."""


class Terms:
    """The table of all terms that were formed. The free algebra: equal parts give the equal term, and nothing else."""

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Term] = {}

    def __call__(self, *parts: object) -> Term:
        return self._table.setdefault(parts, len(self._table))

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


@dataclass(frozen=True, slots=True)
class Expect:
    """What may happen. `accept` None: either is right."""

    accept: bool | None
    codes: frozenset[str] = frozenset()
    rule: str = ""
    """The invariant that a wrong acceptance breaks, or a refusal for another reason than `codes`."""
    unless: str = "CTR-04"
    """The invariant that a wrong refusal breaks."""
    plaintext: int | None = None
    header: SentHeader | None = None
    late: bool = False
    """The message came in on an archived session and leaves the current one as it is."""


@dataclass(frozen=True, slots=True)
class SentHeader:
    """What a message that a party sends must say."""

    kind: str
    session: Term
    chain: Term
    counter: int
    previous_counter: int
    prekey_id: int | None


@dataclass(frozen=True, slots=True)
class Chain:
    """A receiving chain: the peer's ratchet key, the chain's base term, the next counter, the kept counters."""

    ratchet: Term
    base: Term
    next: int = 0
    kept: frozenset[int] = frozenset()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One side of a session, in terms."""

    base: Term
    """The initiator's base key, which names the session."""
    remote: Term
    """The peer's identity key."""
    root: Term
    ratchet: Term
    """Own ratchet key."""
    sending: Term
    counter: int
    previous: int
    receiving: tuple[Chain, ...]
    pending: tuple[int | None, Term] | None
    """One-time prekey id and signed prekey, until the peer answers."""


@dataclass(frozen=True, slots=True)
class Outer:
    """The outer layer of a prekey message."""

    base: Term
    identity: Term
    prekey_id: int | None
    signed_prekey: Term | None
    """None: an id that nobody has."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in terms. `defect` is set when its bytes break the format."""

    ratchet: Term
    counter: int
    previous: int
    version: int
    body: Term
    mac: Term
    handle: int
    sender: int
    receiver: int
    outer: Outer | None
    outer_version: int = 0x33
    defect: tuple[frozenset[str], str] | None = None
    lenient: bool = False
    """A change that the format allows a receiver to accept or to refuse."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A prekey bundle in terms; the signature is a term over identity and signed prekey."""

    identity: Term
    signed_prekey: Term
    signature: Term
    prekey_id: int | None
    prekey: Term | None
    defect: tuple[str, str] | None = None


@dataclass(slots=True)
class Party:
    """One party's state."""

    identity: Term
    signed_prekey: Term
    strict: bool
    pins: dict[int, Term] = field(default_factory=dict)
    sessions: dict[int, tuple[Session, ...]] = field(default_factory=dict)
    """Per peer, the current one first."""
    prekeys: dict[int, Term] = field(default_factory=dict)
    seen: set[Term] = field(default_factory=set)
    """Base keys of sessions that were built without a one-time prekey."""


@dataclass(frozen=True, slots=True)
class Received:
    """What accepting a message does."""

    session: Session
    handle: int
    starts_chain: bool


class Model:
    """Follows a history; `feed` returns what each event's operation may do."""

    def __init__(self, hello: Hello, strict: Iterable[bool]) -> None:
        self.terms = Terms()
        self.limits: Limits = hello.limits
        self.profile: Profile = hello.profile
        self.parties = [self._party(is_strict) for is_strict in strict]
        self.messages: list[Message] = []
        self.diverged = False
        self._delivered: set[int] = set()
        self._attacker = self.terms.fresh("attacker")

    def _party(self, strict: bool) -> Party:
        return Party(self.terms.fresh("identity"), self.terms.fresh("signed-prekey"), strict)

    # -- following ----------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> Expect | None:
        """What the operation of `event` may do; None where the model has nothing to say. Then follow the target."""
        if self.diverged or event.outcome in (Outcome.SKIPPED, Outcome.DIED, Outcome.HUNG):
            return None
        kind = event.op.kind
        if kind in (Kind.ESTABLISH, Kind.FORGE_BUNDLE):
            return self._establish(event)
        if kind is Kind.SEND:
            return self._send(event)
        if kind is Kind.BURST:
            return self._burst(event)
        if kind in (Kind.DELIVER, Kind.REPLAY, Kind.TAMPER, Kind.REDIRECT):
            return self._deliver(event)
        if kind is Kind.INJECT:
            return self._inject(event)
        if event.outcome is not Outcome.DONE:
            return None
        if kind is Kind.REINSTALL and event.actor is not None:
            self.parties[event.actor] = self._party(self.parties[event.actor].strict)
        elif kind is Kind.APPROVE and event.actor is not None and event.peer is not None:
            self._approve(event.actor, event.peer)
        return None

    def _approve(self, actor: int, peer: int) -> None:
        self.parties[actor].pins[peer] = self.parties[peer].identity

    def _took_effect(self, event: Event) -> bool:
        """Whether the operation's change of state is there: it was done, or a crash came after the commit."""
        if event.outcome is Outcome.CRASHED:
            return event.before is not None and event.after is not None and event.before.digest != event.after.digest
        return event.outcome is Outcome.DONE

    # -- bundles ------------------------------------------------------------------------------------------------------

    def _establish(self, event: Event) -> Expect:
        me, other = ends(event)
        actor, peer = self.parties[me], self.parties[other]
        prekey = None
        if event.prekey_id is not None:
            # Handing out a bundle with a one-time prekey is what creates it.
            prekey = peer.prekeys[event.prekey_id] = self.terms.fresh("prekey")
        signature = self.terms("signature", peer.identity, peer.signed_prekey)
        bundle = Bundle(peer.identity, peer.signed_prekey, signature, event.prekey_id, prekey)
        if event.op.kind is Kind.FORGE_BUNDLE:
            bundle = self._forged(bundle, FORGERIES[event.op["how"]])
        reasons = self._bundle_reasons(actor, other, bundle)
        if reasons:
            self.diverged |= event.outcome is Outcome.DONE
            return refuse(reasons)
        if self._took_effect(event):
            actor.pins[other] = bundle.identity
            self._add_session(actor, other, self._initiate(actor, bundle))
        elif event.outcome is Outcome.REFUSED:
            self.diverged = True
        return Expect(True, unless="CNF-01")

    def _forged(self, bundle: Bundle, how: str) -> Bundle:
        mine = self._attacker
        match how:
            case "bad-signature":
                return replace(bundle, signature=self.terms.fresh("forged"))
            case "short-signature":
                return replace(bundle, defect=("invalid-signature", "IDC-03"))
            case "swap-signed-prekey":
                return replace(bundle, signed_prekey=mine)
            case "swap-identity":
                return replace(bundle, identity=mine)
            case "attacker-bundle":
                return replace(bundle, identity=mine, signed_prekey=mine, signature=self.terms("signature", mine, mine))
            case "low-order-signed-prekey":
                return replace(bundle, identity=mine, signed_prekey=LOW, signature=self.terms("signature", mine, LOW))
            case "low-order-prekey":
                return replace(bundle, prekey=LOW)
            case "swap-prekey":
                return replace(bundle, prekey=mine)
            case "key-type":
                return replace(bundle, defect=("invalid-key", "IDC-05"))
            case _:  # "prekey-id": an id that the owner does not have
                return replace(bundle, prekey_id=-1)

    def _bundle_reasons(self, actor: Party, peer: int, bundle: Bundle) -> list[Refusal]:
        """Every reason to refuse the bundle; which one is named first is the target's affair."""
        reasons = []
        if bundle.defect is not None:
            reasons.append(Refusal(*bundle.defect))
        if bundle.signature != self.terms("signature", bundle.identity, bundle.signed_prekey):
            reasons.append(Refusal("invalid-signature", "IDC-03"))
        if LOW in (bundle.identity, bundle.signed_prekey, bundle.prekey):
            reasons.append(Refusal("invalid-key", "IDC-05"))
        return reasons + self._identity_reasons(actor, peer, bundle.identity)

    def _identity_reasons(self, actor: Party, peer: int, identity: Term) -> list[Refusal]:
        pinned = actor.pins.get(peer)
        if pinned is None:
            return [Refusal("untrusted-identity", "IDC-02")] if actor.strict else []
        return [] if pinned == identity else [Refusal("untrusted-identity", "IDC-01")]

    def _initiate(self, actor: Party, bundle: Bundle) -> Session:
        t = self.terms
        base, ratchet = t.fresh("base"), t.fresh("ratchet")
        secret = self._agreement(
            t.agree(actor.identity, bundle.signed_prekey),
            t.agree(base, bundle.identity),
            t.agree(base, bundle.signed_prekey),
            None if bundle.prekey is None else t.agree(base, bundle.prekey),
        )
        root, sending = self._root_step(t("root", secret), ratchet, bundle.signed_prekey)
        first = Chain(bundle.signed_prekey, t("chain", secret))
        pending = (bundle.prekey_id, bundle.signed_prekey)
        return Session(base, bundle.identity, root, ratchet, sending, 0, 0, (first,), pending)

    def _agreement(self, one: Term, two: Term, three: Term, four: Term | None) -> Term:
        return self.terms("x3dh", one, two, three, four)

    def _root_step(self, root: Term, mine: Term, theirs: Term) -> tuple[Term, Term]:
        shared = self.terms.agree(mine, theirs)
        return self.terms("root", root, shared), self.terms("chain", root, shared)

    def _add_session(self, party: Party, peer: int, session: Session) -> None:
        """The new session is the current one; the former is archived, the oldest archived one is dropped."""
        kept = self.limits.archived_sessions
        sessions = (session, *party.sessions.get(peer, ()))
        party.sessions[peer] = sessions if kept is None else sessions[: kept + 1]

    # -- sending ------------------------------------------------------------------------------------------------------

    def _usable(self, party: Party, peer: int) -> list[Session]:
        """Sessions under the pinned identity: those under a replaced one are no candidates (IDC-08)."""
        pinned = party.pins.get(peer)
        return [session for session in party.sessions.get(peer, ()) if session.remote == pinned]

    def _send(self, event: Event) -> Expect:
        actor, peer = ends(event)
        party = self.parties[actor]
        current = next(iter(self._usable(party, peer)), None)
        if current is None:
            had_one = bool(party.sessions.get(peer))
            self.diverged |= event.outcome is Outcome.DONE
            # A session under a replaced identity may be named by either reason.
            codes = {"no-session", "untrusted-identity"} if had_one else {"no-session"}
            return Expect(False, frozenset(codes), "IDC-08" if had_one else "CNF-01")
        header = self._header(current)
        if self._took_effect(event):
            self._replace(party, peer, current, replace(current, counter=current.counter + 1))
            if event.outcome is Outcome.DONE:
                self.messages.append(self._message(event, current, header))
        elif event.outcome is Outcome.REFUSED:
            self.diverged = True
        return Expect(True, unless="CNF-01", header=header)

    def _burst(self, event: Event) -> Expect | None:
        actor, peer = ends(event)
        party = self.parties[actor]
        current = next(iter(self._usable(party, peer)), None)
        if current is None or not event.counters:
            return None
        header = self._header(current)
        self._replace(party, peer, current, replace(current, counter=current.counter + len(event.counters)))
        return Expect(True, unless="CNF-01", header=header)

    def _header(self, session: Session) -> SentHeader:
        kind = "signal" if session.pending is None else "prekey"
        prekey_id = None if session.pending is None else session.pending[0]
        return SentHeader(kind, session.base, session.ratchet, session.counter, session.previous, prekey_id)

    def _message(self, event: Event, session: Session, header: SentHeader) -> Message:
        actor, peer = ends(event)
        sender = self.parties[actor].identity
        key = self.terms("message-key", session.sending, header.counter)
        body = self.terms("body", key, len(self.messages))
        outer = None
        if session.pending is not None:
            outer = Outer(session.base, sender, session.pending[0], session.pending[1])
        message = Message(
            ratchet=session.ratchet,
            counter=header.counter,
            previous=header.previous_counter,
            version=0x33,
            body=body,
            mac=0,
            handle=len(self.messages),
            sender=actor,
            receiver=peer,
            outer=outer,
        )
        return replace(message, mac=self._mac(key, sender, session.remote, message))

    def _mac(self, key: Term, sender: Term, receiver: Term, m: Message) -> Term:
        return self.terms("mac", key, sender, receiver, m.version, m.ratchet, m.counter, m.previous, m.body)

    def _replace(self, party: Party, peer: int, old: Session, new: Session, *, to_front: bool = False) -> None:
        sessions = [new if session is old else session for session in party.sessions[peer]]
        if to_front:
            sessions.remove(new)
            sessions.insert(0, new)
        party.sessions[peer] = tuple(sessions)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def _deliver(self, event: Event) -> Expect | None:
        if event.message is None or event.actor is None or event.peer is None:
            return None
        message = self.messages[event.message]
        if event.op.kind is Kind.TAMPER:
            message = self._tampered(message, event)
        return self._receive(event, message)

    def _receive(self, event: Event, message: Message) -> Expect:
        actor, peer = ends(event)
        party = self.parties[actor]
        if message.defect is not None:
            self.diverged |= event.outcome is Outcome.DONE
            return Expect(False, message.defect[0], message.defect[1])
        known = self._known(party, peer, message)
        try:
            if message.outer is None:
                result, old = self._receive_signal(party, peer, message, self._usable(party, peer))
            elif known is not None:
                result, old = self._receive_known(party, peer, message, message.outer, known)
            else:
                result, old = self._receive_first(party, peer, message, message.outer), None
        except Refusals as refusals:
            self.diverged |= event.outcome is Outcome.DONE
            expect = refuse(self._ruled(event, message, refusals.reasons))
            return replace(expect, codes=expect.codes | PARSE_REFUSALS) if message.lenient else expect
        late = old is not None and party.sessions[peer][0] is not old
        front = self._promotes(result.starts_chain)
        if self._took_effect(event):
            self._delivered.add(message.handle)
            if old is not None:
                self._replace(party, peer, old, result.session, to_front=front and late)
            elif message.outer is not None:
                self._consume(party, peer, message.outer, result.session)
        elif event.outcome is Outcome.REFUSED:
            self.diverged = not message.lenient
        unless = "PAR-02" if event.op.kind is Kind.TAMPER else "CTR-04"
        accept = None if message.lenient else True
        return Expect(accept, PARSE_REFUSALS, "PAR-02", unless=unless, plaintext=result.handle, late=late and not front)

    def _promotes(self, starts_chain: bool) -> bool:
        return self.profile.promotes == "always" or (self.profile.promotes == "on-new-chain" and starts_chain)

    def _known(self, party: Party, peer: int, message: Message) -> Session | None:
        if message.outer is None:
            return None
        return next((s for s in party.sessions.get(peer, ()) if s.base == message.outer.base), None)

    def _receive_known(
        self, party: Party, peer: int, message: Message, outer: Outer, session: Session
    ) -> tuple[Received, Session]:
        """A repeated prekey message: its inner message, on the session that its base key names."""
        if outer.identity != session.remote or session.remote != party.pins.get(peer):
            rule = "IDC-04" if outer.identity != session.remote else "IDC-08"
            raise Refusals([Refusal("untrusted-identity", rule), Refusal("bad-mac", rule)])
        return self._receive_signal(party, peer, message, [session])

    def _receive_first(self, party: Party, peer: int, message: Message, outer: Outer) -> Received:
        """A prekey message that would build a session."""
        reasons = self._identity_reasons(party, peer, outer.identity)
        if outer.signed_prekey != party.signed_prekey:
            reasons.append(Refusal("unknown-signed-prekey", "AUT-01"))
        prekey = None
        if outer.prekey_id is not None:
            prekey = party.prekeys.get(outer.prekey_id)
            if prekey is None:
                reasons.append(Refusal("unknown-prekey", "KEY-03"))
        elif outer.base in party.seen:
            reasons.append(Refusal("replayed-prekey-message", "CTR-06"))
        try:
            received = self._respond(party, message, outer, prekey)
        except Refusal as refusal:
            raise Refusals([*reasons, refusal]) from None
        if reasons:
            # The message would not authenticate either where a prekey is missing.
            raise Refusals(reasons)
        return received

    def _respond(self, party: Party, message: Message, outer: Outer, prekey: Term | None) -> Received:
        t = self.terms
        secret = self._agreement(
            t.agree(outer.identity, party.signed_prekey),
            t.agree(outer.base, party.identity),
            t.agree(outer.base, party.signed_prekey),
            None if prekey is None else t.agree(outer.base, prekey),
        )
        session = Session(
            outer.base,
            outer.identity,
            t("root", secret),
            party.signed_prekey,
            t("chain", secret),
            0,
            0,
            (),
            None,
        )
        return self._ratchet(party, session, message)

    def _consume(self, party: Party, peer: int, outer: Outer, session: Session) -> None:
        """What a first message uses up, and whom it pins: only now, when it is authenticated."""
        party.pins[peer] = outer.identity
        if outer.prekey_id is None:
            party.seen.add(outer.base)
        else:
            del party.prekeys[outer.prekey_id]
        self._add_session(party, peer, session)

    def _receive_signal(
        self, party: Party, peer: int, message: Message, candidates: list[Session]
    ) -> tuple[Received, Session]:
        """Try the sessions that know the message's ratchet key; if none does, all of them."""
        if not candidates:
            replaced = bool(party.sessions.get(peer))
            reasons = [Refusal("no-session", "IDC-08" if replaced else "CNF-01")]
            raise Refusals([*reasons, Refusal("untrusted-identity", "IDC-08")] if replaced else reasons)
        knowing = [s for s in candidates if any(chain.ratchet == message.ratchet for chain in s.receiving)]
        tried = knowing or candidates
        reasons = []
        for session in tried:
            try:
                return self._ratchet(party, session, message), session
            except Refusal as refusal:
                reasons.append(refusal)
        if len(tried) > 1:
            reasons.append(Refusal("bad-mac", "AUT-01"))
            if message.counter * len(tried) > self.limits.forward_jump:
                reasons.append(Refusal("work-limit-exceeded", "BND-01"))
        raise Refusals(reasons)

    def _ratchet(self, party: Party, session: Session, message: Message) -> Received:
        """One receiving step. Raises: Refusal. The session given is not changed."""
        known = next((chain for chain in session.receiving if chain.ratchet == message.ratchet), None)
        stepped, chain = session, known
        if chain is None:
            stepped, chain = self._dh_step(session, message)
        chain = self._advance(chain, message.counter)
        key = self.terms("message-key", chain.base, message.counter)
        if message.mac != self._mac(key, session.remote, party.identity, message):
            raise Refusal("bad-mac", "AUT-01")
        chains = tuple(chain if c.ratchet == chain.ratchet else c for c in stepped.receiving)
        stepped = replace(stepped, receiving=self._bounded(chains), pending=None)
        return Received(stepped, message.handle, starts_chain=known is None)

    def _dh_step(self, session: Session, message: Message) -> tuple[Session, Chain]:
        """A new ratchet key of the peer: a receiving chain for it, then a new key of one's own."""
        receiving = session.receiving
        if self.profile.closes_chains and receiving:
            filled = receiving[0]
            if message.previous >= filled.next:
                filled = self._advance(filled, message.previous + 1, fill=True)
            receiving = (replace(filled, closed=True), *receiving[1:])
        root, base = self._root_step(session.root, session.ratchet, message.ratchet)
        chain = Chain(message.ratchet, base)
        mine = self.terms.fresh("ratchet")
        root, sending = self._root_step(root, mine, message.ratchet)
        most = self.limits.receiving_chains
        receiving = (chain, *receiving)
        stepped = replace(
            session,
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
            return replace(chain, kept=chain.kept - {counter})
        if chain.closed:
            raise Refusal("duplicate-message", "CTR-04")
        if counter - chain.next > self.limits.forward_jump:
            raise Refusal("too-far-ahead", "CTR-04")
        kept = chain.kept.union(range(chain.next, counter))
        most = self.limits.kept_per_chain
        if most is not None and len(kept) > most:
            kept = frozenset(sorted(kept)[-most:])
        return replace(chain, next=counter if fill else counter + 1, kept=kept)

    def _bounded(self, chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
        """Over the session's limit, drop the oldest keys of the oldest chain first."""
        most = self.limits.kept_per_session
        total = sum(len(chain.kept) for chain in chains)
        if most is None or total <= most:
            return chains
        out = list(chains)
        for at in reversed(range(len(out))):
            drop = min(total - most, len(out[at].kept))
            out[at] = replace(out[at], kept=frozenset(sorted(out[at].kept)[drop:]))
            total -= drop
        return tuple(out)

    def _ruled(self, event: Event, message: Message, reasons: list[Refusal]) -> list[Refusal]:
        """Name the invariant by what the attacker did, where the reason alone does not say it."""
        rule = None
        if message.handle not in self._delivered:
            # No repeat: its key was dropped at the edge of the window.
            reasons = [Refusal(reason.code, reason.rule.replace("CTR-03", "CTR-04")) for reason in reasons]
        if event.op.kind is Kind.TAMPER:
            rule = RULE_OF_TAMPER.get(TAMPERS[event.op["field"]])
            if rule == "IDC-05":
                # A weak key may be refused where it is read, before anything else is looked at.
                reasons = [*reasons, Refusal("invalid-key", rule)]
        elif (event.actor, event.peer) != (message.receiver, message.sender):
            rule = "IDC-04"
        elif event.op.kind is Kind.REPLAY and message.outer is not None and reasons[0].rule in ("CTR-03", "KEY-03"):
            rule = "CTR-06" if message.outer.prekey_id is None else reasons[0].rule
        if rule is None or reasons[0].rule in ("IDC-01", "IDC-02", "IDC-08"):
            return reasons
        return [Refusal(reason.code, rule) for reason in reasons]

    # -- the attacker's bytes -----------------------------------------------------------------------------------------

    def _tampered(self, m: Message, event: Event) -> Message:
        """The symbolic counterpart of `pawl_gate.attacker.tamper`."""
        name, how, t = TAMPERS[event.op["field"]], event.op["how"], self.terms
        delta = COUNTER_DELTAS[how % len(COUNTER_DELTAS)]
        malformed = frozenset({"malformed-message"})
        match name:
            case "mac":
                return replace(m, mac=t.fresh("junk"))
            case "ciphertext":
                return replace(m, body=t.fresh("junk"))
            case "counter":
                return replace(m, counter=(m.counter + delta) % 2**32)
            case "previous-counter":
                return replace(m, previous=(m.previous + delta) % 2**32)
            case "ratchet-key":
                return replace(m, ratchet=t.fresh("junk") if how % 2 == 0 else self._spliced(m, how).ratchet)
            case "low-order-ratchet-key":
                return replace(m, ratchet=LOW)
            case "version":
                codes = frozenset({"unknown-version", "bad-mac", "malformed-message", *reachable(m)})
                return replace(m, defect=(codes, "PAR-04"))
            case "unknown-field":
                # Behind the MAC: the bytes received are what is authenticated.
                return replace(m, mac=t.fresh("junk"))
            case "duplicate-field" | "overlong-varint" | "wrong-wire-type":
                # A reader that skips what it should refuse finds that the MAC covers it.
                return replace(m, defect=(malformed | {"bad-mac"}, "PAR-02"))
            case "truncate" | "trailing-byte":
                codes = PARSE_REFUSALS | {"bad-mac"} | reachable(m)
                return replace(m, defect=(codes, "PAR-01"))
        # The runner skips a change that does not concern the message.
        return m if m.outer is None else self._outer_tampered(m, m.outer, event, name)

    def _outer_tampered(self, m: Message, outer: Outer, event: Event, name: str) -> Message:
        how, t = event.op["how"], self.terms
        match name:
            case "registration-id" | "reorder-fields" | "outer-unknown-field":
                # Not authenticated by the protocol; any order and unknown fields are accepted (PAR-02, PAR-04).
                return m
            case "prekey-id":
                return replace(m, outer=replace(outer, prekey_id=event.prekey_id))
            case "drop-prekey-id":
                return replace(m, outer=replace(outer, prekey_id=None))
            case "signed-prekey-id":
                return replace(m, outer=replace(outer, signed_prekey=None))
            case "base-key":
                return replace(m, outer=replace(outer, base=t.fresh("junk")))
            case "low-order-base-key":
                return replace(m, outer=replace(outer, base=LOW))
            case "identity-key":
                other = self._attacker if how % 2 == 0 else self.parties[(m.sender + 1) % len(PARTIES)].identity
                return replace(m, outer=replace(outer, identity=other))
            case "low-order-identity":
                return replace(m, outer=replace(outer, identity=LOW))
            case "outer-version":
                byte = VERSION_BYTES[how % len(VERSION_BYTES)]
                if byte >> 4 == 3:
                    # The low nibble says who wrote it and is not under the MAC here.
                    return replace(m, lenient=True)
                return replace(m, defect=(frozenset({"unknown-version", "malformed-message"}), "PAR-04"))
            case _:  # "outer-duplicate-field", "outer-overlong-varint"
                return replace(m, defect=(frozenset({"malformed-message"}), "PAR-02"))

    def _spliced(self, m: Message, how: int) -> Message:
        other = self.messages[how % len(self.messages)]
        return replace(m, ratchet=self.terms.fresh("junk")) if other.ratchet == m.ratchet else other

    def _inject(self, event: Event) -> Expect:
        what = JUNK[event.op["what"]]
        # A receiver may find what the bytes name, or do not name, missing before it finds them malformed.
        codes = PARSE_REFUSALS | MISSING
        self.diverged |= event.outcome is Outcome.DONE
        return Expect(False, codes, "AUT-01" if what == "well-formed" else "PAR-01")


class Refusals(Exception):
    """All the reasons for which a message is to be refused; a target may name any of them."""

    def __init__(self, reasons: list[Refusal]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = reasons


RULE_OF_TAMPER = {
    "mac": "AUT-01",
    "ciphertext": "AUT-01",
    "counter": "AUT-01",
    "previous-counter": "AUT-01",
    "ratchet-key": "AUT-01",
    "unknown-field": "AUT-01",
    "identity-key": "IDC-04",
    "low-order-identity": "IDC-05",
    "low-order-base-key": "IDC-05",
    "low-order-ratchet-key": "IDC-05",
}
"""The invariant at stake when the change is not noticed. The others leave what is authenticated as it was."""


def reachable(message: Message) -> frozenset[str]:
    """Refusals of a changed message that may come first, because they are decided before the MAC is."""
    codes = {"no-session", "untrusted-identity", "duplicate-message", "too-far-ahead", "invalid-key"}
    if message.outer is not None:
        codes |= {"unknown-prekey", "unknown-signed-prekey", "replayed-prekey-message"}
    return frozenset(codes)


def ends(event: Event) -> tuple[int, int]:
    """The party that acted and its peer. Raises: ValueError for an event without them."""
    if event.actor is None or event.peer is None:
        raise ValueError(f"step {event.step}: {event.op} names no two parties")
    return event.actor, event.peer


def refuse(reasons: list[Refusal]) -> Expect:
    """Refuse for any of these reasons; the first names the invariant."""
    return Expect(False, frozenset(reason.code for reason in reasons), reasons[0].rule)


def expectations(history: History) -> list[Expect | None]:
    """What the model expects of each event of a history."""
    strict = [history.trace.is_strict(party) for party in range(len(PARTIES))]
    model = Model(history.target, strict)
    return [model.feed(event) for event in history.events]


__all__ = ["Expect", "Model", "SentHeader", "expectations"]
