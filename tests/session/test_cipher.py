"""The message cipher as pure functions: which session a message is tried on, and how much work it may cause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pawl import MessageType, ProtocolError
from pawl.crypto import cbc, kdf
from pawl.crypto.keys import RootKey
from pawl.limits import MAX_DERIVATIONS_PER_MESSAGE, MAX_UNACKNOWLEDGED_SECONDS
from pawl.session import cipher, double_ratchet
from pawl.session.state import Session
from pawl.wire.messages import SignalMessage, decode_prekey_message, decode_signal_message, encode_signal_body
from tests.devices import NOW, Random, advanced_sender, with_counter
from tests.session.test_double_ratchet import receive, two_sides

PARSE_REFUSALS = {"malformed-message", "message-too-large", "unknown-version", "invalid-key"}


def nothing_kept(*_: object) -> None:
    return None


def never() -> int:
    raise AssertionError("the clock was asked")


def message_of(session: Session, plaintext: bytes = b"text") -> SignalMessage:
    """The next message of `session`, without what may be around it."""
    _, message = cipher.encrypt(session, plaintext, clock=lambda: NOW)
    if message.type is MessageType.PREKEY:
        return decode_prekey_message(message.serialized).message
    return decode_signal_message(message.serialized)


def other(session: Session, number: int) -> Session:
    """A session that has nothing in common with `session` but its identities."""
    return session._replace(root_key=RootKey(bytes([number]) * 32))


def theirs_at(session: Session, counter: int) -> Session:
    """`session` with another next counter on its only receiving chain."""
    return session._replace(receiving=(session.receiving[0]._replace(counter=counter),))


def code_of(sessions: list[Session], message: SignalMessage) -> str:
    with pytest.raises(ProtocolError) as caught:
        cipher.open_message(sessions, message, nothing_kept)
    return caught.value.code


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000])
def test_round_trip(length: int) -> None:
    """Every length of plaintext comes back, the empty one too; the session given is not changed."""
    ours, theirs = two_sides()
    opened = cipher.open_message([theirs], message_of(ours, bytes(length)), nothing_kept)
    assert opened.plaintext == bytes(length)
    assert opened.session is theirs


def test_prekey_until_the_peer_answers() -> None:
    """X3DH, section 3.3: the initiator repeats the prekey part until it has an answer, and asks the clock only then."""
    ours, theirs = two_sides()
    _, first = cipher.encrypt(ours, b"text", clock=lambda: NOW)
    assert first.type is MessageType.PREKEY
    theirs = receive(theirs, ours.sending.ratchet.public, 0)[0].session
    ours = receive(ours, theirs.sending.ratchet.public, 0)[0].session
    _, later = cipher.encrypt(ours, b"text", clock=never)
    assert later.type is MessageType.SIGNAL


def test_unacknowledged_session_goes_stale() -> None:
    """Wire facts, "Limits": after 30 days without an answer nothing more is sent: stale-session."""
    ours, _ = two_sides()
    edge = NOW + MAX_UNACKNOWLEDGED_SECONDS
    cipher.encrypt(ours, b"text", clock=lambda: edge)
    with pytest.raises(ProtocolError) as caught:
        cipher.encrypt(ours, b"text", clock=lambda: edge + 1)
    assert caught.value.code == "stale-session"


def test_every_bit_is_authenticated() -> None:
    """Double Ratchet, section 7.2: with any bit changed the message is refused, whichever field the bit is in."""
    ours, theirs = two_sides()
    _, message = cipher.encrypt(ours, b"text", clock=lambda: NOW)
    inner = decode_prekey_message(message.serialized).message
    data = inner.authenticated + inner.mac
    for at in range(len(data)):
        for bit in (0, 7):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(ProtocolError) as caught:
                cipher.open_message([theirs], decode_signal_message(bytes(changed)), nothing_kept)
            assert caught.value.code in PARSE_REFUSALS | {"bad-mac", "too-far-ahead"}


@pytest.mark.parametrize("side", ["local_identity", "remote_identity"])
def test_both_identities_are_authenticated(side: str) -> None:
    """IDC-04: moved to another pair of parties, a message is refused, though every other key is the same."""
    ours, theirs = two_sides()
    moved = theirs._replace(**{side: theirs.base_key})
    assert code_of([moved], message_of(ours)) == "bad-mac"


def test_padding_is_checked_after_the_mac() -> None:
    """An authenticated body that is not padded as PKCS#7 says is refused as invalid-ciphertext; else it is bad-mac."""
    ours, theirs = two_sides()
    _, seed = double_ratchet.send(ours)
    cipher_key, mac_key, iv = kdf.message_keys(seed)
    # Without its last block, what is left ends with a zero byte.
    broken = cbc.encrypt(cipher_key, iv, bytes(16))[:16]
    body = encode_signal_body(ratchet_key=ours.sending.ratchet.public, counter=0, previous_counter=0, ciphertext=broken)
    mac = kdf.message_mac(mac_key, ours.local_identity.serialize(), ours.remote_identity.serialize(), body)
    assert code_of([theirs], decode_signal_message(body + mac)) == "invalid-ciphertext"
    assert code_of([theirs], decode_signal_message(body + bytes(8))) == "bad-mac"


# -- candidates -------------------------------------------------------------------------------------------------------


def test_the_right_one_of_several_sessions() -> None:
    """Wire facts, "Double ratchet": without a known ratchet key, each session is tried in turn."""
    ours, theirs = two_sides()
    sessions = [other(theirs, 1), other(theirs, 2), theirs, other(theirs, 3)]
    opened = cipher.open_message(sessions, message_of(ours), nothing_kept)
    assert opened.session is theirs


def test_sessions_that_know_the_key_come_first_and_alone() -> None:
    """BND-01: a session that knows the ratchet key is tried before others, and no other is read once it fits."""
    ours, theirs = two_sides()
    knowing = receive(theirs, ours.sending.ratchet.public, 0)[0].session
    message = message_of(with_counter(ours, 1))

    def lazily() -> Iterator[Session]:
        yield other(theirs, 1)
        yield knowing
        raise AssertionError("a session was read in vain")

    ours, _ = double_ratchet.send(ours)
    opened = cipher.open_message(lazily(), message_of(ours), nothing_kept)
    assert opened.session is knowing
    # If it does not fit there, the sessions that do not know the key are not tried.
    assert code_of([other(theirs, 1), knowing], message._replace(mac=bytes(8))) == "bad-mac"
    work = [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(double_ratchet.kdf, "root_step", lambda *_: work.__setitem__(0, 1))
        assert code_of([other(theirs, 1), knowing], message._replace(mac=bytes(8))) == "bad-mac"
    assert work == [0]


def test_which_refusal_is_told() -> None:
    """One reason is told as it is; if sessions differ in theirs, the message belongs to none: bad-mac."""
    ours, theirs = two_sides()
    key = ours.sending.ratchet.public
    knowing = receive(theirs, key, 0)[0].session
    far = theirs_at(knowing, 30_000)
    message = message_of(ours)
    assert code_of([], message) == "no-session"
    assert code_of([knowing], message) == "duplicate-message"
    assert code_of([knowing, far], message) == "duplicate-message"
    ahead = message._replace(counter=25_002)
    assert code_of([knowing], ahead) == "too-far-ahead"
    assert code_of([theirs], ahead) == "too-far-ahead"
    assert code_of([far, theirs], message._replace(counter=55_001)) == "too-far-ahead"
    assert code_of([theirs_at(knowing, 0), far], message._replace(counter=30_000)) == "bad-mac"
    fresh = theirs_at(knowing, 0)
    assert code_of([knowing, fresh], message._replace(mac=bytes(8))) == "bad-mac"


@pytest.mark.many_steps
def test_work_is_limited_over_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """BND-01: one message causes at most 52,000 derivations over all sessions together, then: work-limit-exceeded.

    41 sessions and a counter of 2,000 would cause 82,000; the limit is reached before it is passed.
    """
    ours, theirs = two_sides()
    sessions = [other(theirs, number) for number in range(41)]
    message = message_of(ours)._replace(counter=2_000)
    work = [0]
    for name in ("step_chain", "root_step", "message_keys"):
        original = getattr(kdf, name)

        def counted(*arguments: bytes, original: object = original) -> object:
            work[0] += 1
            return original(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(kdf, name, counted)
    assert code_of(sessions, message) == "work-limit-exceeded"
    assert MAX_DERIVATIONS_PER_MESSAGE == 52_000
    assert 49_000 < work[0] <= 52_000
    # A message that fits one of the first sessions is read all the same.
    ahead = advanced_sender(ours, 2_000, double_ratchet.send)
    opened = cipher.open_message([sessions[0], theirs, *sessions[1:]], message_of(ahead), nothing_kept)
    assert opened.session is theirs


@pytest.mark.many_steps
def test_one_full_jump_too_many_is_allowed() -> None:
    """BND-01: the limit has room for one wrong session with a full jump before the right one."""
    ours, theirs = two_sides()
    ours = advanced_sender(ours, 25_000, double_ratchet.send)
    opened = cipher.open_message([other(theirs, 1), theirs], message_of(ours), nothing_kept)
    assert opened.plaintext == b"text"


def test_opened_does_not_show_the_plaintext() -> None:
    """KEY-06: neither plaintext nor seed is in the text of an opened message."""
    ours, theirs = two_sides()
    opened = cipher.open_message([theirs], message_of(ours, b"very secret"), nothing_kept)
    assert "very secret" not in repr(opened)
    assert opened.derived.seed.hex() not in repr(opened)
    assert repr(opened.derived.seed) not in repr(opened)
    # The session and the randomness around it are as they were.
    assert double_ratchet.advance(theirs, opened.derived, rng=Random("receiver"), count=lambda *_: 0).starts_chain
