"""The double ratchet as pure functions: limits at their edges, what is kept and what goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl import ProtocolError, PublicKey
from pawl.crypto.keys import ChainKey, KeyPair
from pawl.limits import (
    MAX_COUNTER,
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    MAX_SKIPPED_KEYS_PER_CHAIN,
    MAX_SKIPPED_KEYS_PER_SESSION,
)
from pawl.session import double_ratchet
from pawl.session.double_ratchet import Advanced, advance, cost, derive, find_chain, send
from pawl.session.state import PendingPreKey, ReceivingChain, Session
from tests.devices import LOW_ORDER, Random, advanced_sender, private, with_counter
from tests.session.test_x3dh import first_message, initiated, responded

Kept = dict[tuple[bytes, int], bytes]
"""Kept seeds by ratchet key and counter."""

RECEIVER = Random("receiver")


def two_sides() -> tuple[Session, Session]:
    """Initiator and responder of one session, nothing sent yet."""
    ours = initiated()
    return ours, responded(first_message(ours))


def receive(session: Session, ratchet_key: PublicKey, counter: int, kept: Kept | None = None) -> tuple[Advanced, bytes]:
    """All three functions, as for a message that authenticates; `kept` is brought up to date."""
    rows = {} if kept is None else kept
    chain = find_chain(session, ratchet_key)
    cost(chain, counter)
    derived = derive(session, chain, ratchet_key, counter, lambda _, key, at: rows.get((key.data, at)))
    advanced = advance(session, derived, rng=RECEIVER, count=lambda _, key: sum(data == key.data for data, _ in rows))
    if advanced.used is not None:
        del rows[ratchet_key.data, advanced.used]
    for key, count in advanced.dropped:
        held = sorted(at for data, at in rows if data == key.data)
        assert count is None or len(held) >= count
        for at in held[:count]:
            del rows[key.data, at]
    rows.update({(ratchet_key.data, at): seed for at, seed in advanced.skipped})
    # There are no more than each chain says, and none of a chain that is closed.
    by_chain = [sum(1 for data, _ in rows if data == each.ratchet_key.data) for each in advanced.session.receiving]
    assert all(there <= each.kept for there, each in zip(by_chain, advanced.session.receiving, strict=True))
    assert sum(by_chain) == len(rows)
    return advanced, derived.seed


def sent(session: Session, counter: int) -> bytes:
    """The seed with which `session` would send its message `counter`."""
    return send(advanced_sender(session, counter, send))[1]


# -- sending ----------------------------------------------------------------------------------------------------------


def test_send_moves_only_the_chain() -> None:
    """Double Ratchet, section 2.2: each message has its own seed, and the chain key is replaced."""
    session, _ = two_sides()
    stepped, seed = send(session)
    again, next_seed = send(stepped)
    assert (session.sending.counter, stepped.sending.counter, again.sending.counter) == (0, 1, 2)
    assert seed != next_seed
    assert stepped.sending.chain_key != session.sending.chain_key
    assert stepped._replace(sending=session.sending) == session


def test_last_counter_is_used_once() -> None:
    """CTR-01: the counter 2^32 - 1 is used, and then no other: counter-exhausted."""
    session, _ = two_sides()
    last, _ = send(with_counter(session, MAX_COUNTER))
    assert last.sending.counter == MAX_COUNTER + 1
    with pytest.raises(ProtocolError) as caught:
        send(last)
    assert caught.value.code == "counter-exhausted"


# -- receiving in order and out of order ------------------------------------------------------------------------------


def test_both_sides_derive_the_same_seeds() -> None:
    """Double Ratchet, section 3.4: in any order, each message has the seed that the sender used, exactly once."""
    ours, theirs = two_sides()
    key, kept = ours.sending.ratchet.public, dict[tuple[bytes, int], bytes]()
    for counter in (3, 0, 5, 4, 1, 2, 6):
        advanced, seed = receive(theirs, key, counter, kept)
        assert seed == sent(ours, counter)
        assert advanced.starts_chain == (counter == 3)
        theirs = advanced.session
    assert kept == {}
    for counter in range(7):
        with pytest.raises(ProtocolError) as caught:
            receive(theirs, key, counter, kept)
        assert caught.value.code == "duplicate-message"


def test_ratchet_step_goes_both_ways() -> None:
    """Double Ratchet, section 3.3: a new ratchet key gives a receiving chain, then a key pair and chain of one's own.

    The peer's next step meets it; `previous_counter` is the index of the last message on the former sending chain.
    """
    ours, theirs = two_sides()
    theirs = receive(theirs, ours.sending.ratchet.public, 0)[0].session
    assert theirs.previous_counter == 0
    theirs = advanced_sender(theirs, 3, send)
    former = ours
    ours = receive(advanced_sender(ours, 5, send), theirs.sending.ratchet.public, 2)[0].session
    assert ours.previous_counter == 4
    assert ours.sending.counter == 0
    assert ours.sending.ratchet != former.sending.ratchet
    assert ours.root_key != former.root_key
    assert ours.pending is None
    _, seed = receive(theirs, ours.sending.ratchet.public, 1)
    assert seed == sent(ours, 1)


def test_low_order_ratchet_key_is_refused() -> None:
    """IDC-05: a ratchet key whose shared secret is all zero starts no chain."""
    ours, _ = two_sides()
    with pytest.raises(ProtocolError) as caught:
        receive(ours, LOW_ORDER, 0)
    assert caught.value.code == "invalid-key"


def test_nothing_is_looked_up_where_nothing_is_kept() -> None:
    """BND-03: a repeat on a chain without kept keys asks the store for nothing."""
    ours, theirs = two_sides()
    key = ours.sending.ratchet.public
    theirs = receive(theirs, key, 0)[0].session

    def never(session: Session, ratchet_key: PublicKey, counter: int) -> bytes | None:
        raise AssertionError

    with pytest.raises(ProtocolError) as caught:
        derive(theirs, find_chain(theirs, key), key, 0, never)
    assert caught.value.code == "duplicate-message"


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("due", [None, 0, 17])
def test_forward_jump_edge(due: int | None) -> None:
    """BND-01, wire facts "Limits": a jump of 25,000 is accepted, one of 25,001 refused before any work."""
    chain = (
        None if due is None else ReceivingChain(KeyPair.from_private(private(1)).public, ChainKey(bytes(32)), due, 0)
    )
    edge = MAX_FORWARD_JUMP + (due or 0)
    assert MAX_FORWARD_JUMP == 25_000
    assert cost(chain, edge) == 25_000 + 2 + (2 if chain is None else 0)
    with pytest.raises(ProtocolError) as caught:
        cost(chain, edge + 1)
    assert caught.value.code == "too-far-ahead"


def test_cost_is_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-01: the work announced before a message is the work that it then causes."""
    ours, theirs = two_sides()
    key, kept, work = ours.sending.ratchet.public, dict[tuple[bytes, int], bytes](), [0]
    for name in ("step_chain", "root_step"):
        original = getattr(double_ratchet.kdf, name)

        def counted(*arguments: bytes, original: object = original) -> object:
            work[0] += 1
            return original(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(double_ratchet.kdf, name, counted)
    for counter in (4, 2, 9, 10):
        announced, work[0] = cost(find_chain(theirs, key), counter), 0
        theirs = receive(theirs, key, counter, kept)[0].session
        # One more is for the message's keys, which the cipher derives.
        assert work[0] + 1 == announced


def test_skipped_keys_per_chain_in_one_jump() -> None:
    """BND-02: of a jump over 2,600 messages the newest 2,000 keys are kept; older messages are duplicates."""
    ours, theirs = two_sides()
    key, kept = ours.sending.ratchet.public, dict[tuple[bytes, int], bytes]()
    theirs = receive(theirs, key, 2_600, kept)[0].session
    assert sorted(at for _, at in kept) == list(range(600, 2_600))
    assert theirs.receiving[0].kept == MAX_SKIPPED_KEYS_PER_CHAIN == 2_000
    with pytest.raises(ProtocolError) as caught:
        receive(theirs, key, 599, kept)
    assert caught.value.code == "duplicate-message"
    assert receive(theirs, key, 600, kept)[1] == sent(ours, 600)


def test_skipped_keys_per_chain_across_messages() -> None:
    """BND-02: the limit holds over all jumps of a chain together, and the oldest keys go."""
    ours, theirs = two_sides()
    key, kept = ours.sending.ratchet.public, dict[tuple[bytes, int], bytes]()
    for counter in (1_500, 2_300):
        theirs = receive(theirs, key, counter, kept)[0].session
    # 1,500 and 799 keys were skipped: 299 too many.
    assert sorted(at for _, at in kept) == [*range(299, 1_500), *range(1_501, 2_300)]


def test_a_sixth_chain_closes_the_oldest() -> None:
    """BND-02: 5 receiving chains stay open; the keys kept for an older one go with it."""
    ours, theirs = two_sides()
    kept: Kept = {}
    keys = []
    for number in range(7):
        keys.append(ours.sending.ratchet.public)
        theirs = receive(theirs, keys[-1], 2, kept)[0].session
        ours = receive(ours, theirs.sending.ratchet.public, 0)[0].session
        assert len(theirs.receiving) == min(number + 1, MAX_RECEIVING_CHAINS)
    assert [chain.ratchet_key for chain in theirs.receiving] == keys[:1:-1]
    assert sorted(kept) == sorted((key.data, at) for key in keys[2:] for at in (0, 1))
    assert find_chain(theirs, keys[1]) is None
    assert find_chain(theirs, keys[2]) is not None


def with_kept(session: Session, counts: list[int]) -> tuple[Session, Kept]:
    """`session` with as many receiving chains as `counts`, newest first, each with that many kept keys and no gap."""
    chains = []
    kept: Kept = {}
    for number, count in enumerate(counts):
        key = KeyPair.from_private(private(number + 1)).public
        chains.append(ReceivingChain(key, ChainKey(bytes([number]) * 32), count, count))
        kept |= {(key.data, at): bytes(32) for at in range(count)}
    return session._replace(receiving=tuple(chains)), kept


def test_skipped_keys_per_session() -> None:
    """BND-02: a session keeps 8,000 keys; over it, the oldest keys of the oldest chain go first."""
    session, kept = with_kept(two_sides()[0], [500, 2_000, 2_000, 1_900, 1_500])
    newest, oldest = session.receiving[0], session.receiving[-1]
    advanced, _ = receive(session, newest.ratchet_key, 500 + 400, kept)
    assert sum(chain.kept for chain in advanced.session.receiving) == MAX_SKIPPED_KEYS_PER_SESSION == 8_000
    assert [chain.kept for chain in advanced.session.receiving] == [900, 2_000, 2_000, 1_900, 1_200]
    assert sorted(at for key, at in kept if key == oldest.ratchet_key.data) == list(range(300, 1_500))


def test_new_keys_go_where_they_are_the_oldest() -> None:
    """BND-02: the oldest keys of the oldest chain go first, those that this very message would keep there too."""
    session, kept = with_kept(two_sides()[0], [2_000, 2_000, 2_000, 1_950, 10])
    oldest = session.receiving[-1].ratchet_key
    advanced, _ = receive(session, oldest, 10 + 100, kept)
    assert [chain.kept for chain in advanced.session.receiving] == [2_000, 2_000, 2_000, 1_950, 50]
    assert sorted(at for key, at in kept if key == oldest.data) == list(range(60, 110))


@pytest.mark.parametrize(
    ("counts", "at", "skip"),
    [([500, 2_000, 2_000, 1_900, 1_500], 0, 100), ([0, 1_950], 1, 50)],
    ids=["session", "chain"],
)
def test_kept_keys_are_counted_over_a_limit_only(counts: list[int], at: int, skip: int) -> None:
    """BND-03: at the limit of a session or a chain everything stays, so no row is looked at; one key more has them counted."""
    session, _ = with_kept(two_sides()[0], counts)
    chain, asked = session.receiving[at], []

    def count(_: Session, key: PublicKey) -> int:
        asked.append(key)
        return next(each.kept for each in session.receiving if each.ratchet_key == key)

    for more in (0, 1):
        derived = derive(session, chain, chain.ratchet_key, counts[at] + skip + more, lambda *_: None)
        dropped = advance(session, derived, rng=RECEIVER, count=count).dropped
        assert bool(asked) is bool(more)
        assert sum(gone or 0 for _, gone in dropped) == more


def reference(counts: list[int], at: int, skip: int, per_chain: int, per_session: int) -> list[list[int]]:
    """The kept counters per chain, by plain lists: first the chain's limit, then the session's, the oldest go."""
    lists = [list(range(count)) for count in counts]
    lists[at] = (lists[at] + list(range(counts[at], counts[at] + skip)))[-per_chain:]
    while sum(map(len, lists)) > per_session:
        next(each for each in reversed(lists) if each).pop(0)
    return lists


@given(st.data())
def test_keeping_agrees_with_plain_lists(data: st.DataObject) -> None:
    """BND-02: whatever was kept and however far the jump, exactly the right keys stay (small limits stand in)."""
    per_chain, per_session = 5, 12
    counts = data.draw(st.lists(st.integers(0, per_chain), min_size=1, max_size=5).filter(lambda c: sum(c) <= 12))
    at = data.draw(st.integers(0, len(counts) - 1))
    skip = data.draw(st.integers(0, 9))
    session, kept = with_kept(two_sides_once, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_CHAIN", per_chain)
        patch.setattr(double_ratchet, "MAX_SKIPPED_KEYS_PER_SESSION", per_session)
        advanced, _ = receive(session, session.receiving[at].ratchet_key, counts[at] + skip, kept)
    stays = reference(counts, at, skip, per_chain, per_session)
    for chain, expected in zip(session.receiving, stays, strict=True):
        assert sorted(n for key, n in kept if key == chain.ratchet_key.data) == expected
    assert [chain.kept for chain in advanced.session.receiving] == [len(each) for each in stays]


two_sides_once = two_sides()[0]


def test_values_do_not_show_secrets() -> None:
    """KEY-06: no seed, chain key or root key is in the text of what the functions return."""
    ours, theirs = two_sides()
    key = ours.sending.ratchet.public
    chain = find_chain(theirs, key)
    derived = derive(theirs, chain, key, 2, lambda *_: None)
    advanced = advance(theirs, derived, rng=Random("receiver"), count=lambda *_: 0)
    text = repr(derived) + repr(advanced) + repr(ours)
    secrets = [derived.seed, derived.chain_key, derived.root_key, *(seed for _, seed in derived.skipped)]
    secrets += [ours.root_key.data, ours.sending.chain_key.data, ours.sending.ratchet.private.data]
    for secret in secrets:
        assert len(secret) == 32
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text


def test_a_late_first_answer_is_an_answer() -> None:
    """X3DH, section 3.3: the initiator stops repeating its prekey message once the peer has answered, also where the
    first answer that it reads is one whose key was kept.
    """
    ours, theirs = two_sides()
    kept: Kept = {}
    theirs = receive(theirs, ours.sending.ratchet.public, 0)[0].session
    advanced, _ = receive(ours, theirs.sending.ratchet.public, 1, kept)
    pending = PendingPreKey(1, 1, ours.base_key, 0)
    waiting = advanced.session._replace(pending=pending)
    answered, seed = receive(waiting, theirs.sending.ratchet.public, 0, kept)
    assert seed == sent(theirs, 0)
    assert answered.session == waiting._replace(pending=None)
    # The kept key is used up and its chain stays: the session is rewritten for the answer alone.
    assert (answered.starts_chain, answered.used, answered.unchanged) == (False, 0, False)
