"""What processes that share a store were told, written by hand: each predicate holds on one record and breaks on another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pawl_spec.invariants import INVARIANTS
from pawl_spec.shared_store import (
    ALONE,
    SERVED,
    SHARED,
    Blow,
    Call,
    End,
    Letter,
    Look,
    Reading,
    Record,
    Sent,
    Talk,
    judge,
)

PEER = "peer 1"


class Log:
    """A record in the making. Each call takes one tick, and comes after all before it unless its time is given."""

    def __init__(self, troubles: frozenset[str] = ALONE) -> None:
        self.record = Record(troubles)
        self.now = 0
        self.writer = 1

    def call(self, what: str, end: End = End.DONE, *, at: tuple[int, int] | None = None, **fields: Any) -> Log:
        self.now += 10
        began, ended = (self.now, self.now + 1) if at is None else at
        fields = {"writer": f"writer {self.writer}", "peer": PEER, **fields}
        self.record.calls.append(Call(what=what, began=began, ended=ended, end=end, **fields))
        return self

    def refused(self, what: str, code: str, **fields: Any) -> Log:
        return self.call(what, End.REFUSED, code=code, **fields)

    def opened(self, identity: str = "id", **fields: Any) -> Log:
        return self.call("open", identity=identity, peer="", **fields)

    def sent(self, *places: tuple[int, int], chain: str = "chain", **fields: Any) -> Log:
        """Messages, each a number and a counter."""
        given = tuple(Sent(number, chain, counter) for number, counter in places)
        return self.call("encrypt", sent=given, size=len(given), **fields)

    def letter(self, number: int, session: str = "session", prekey: int | None = None) -> Log:
        self.record.letters[number] = Letter(number, PEER, session, prekey)
        return self

    def read(self, *numbers: int, **fields: Any) -> Log:
        for number in numbers:
            if number not in self.record.letters:
                self.letter(number)
        return self.call("decrypt", letters=numbers, gave=numbers, **fields)

    def not_read(self, code: str, *numbers: int, end: End = End.REFUSED, **fields: Any) -> Log:
        for number in numbers:
            if number not in self.record.letters:
                self.letter(number)
        return self.call("decrypt", end, code=code, letters=numbers, **fields)

    def looked(self, stored: dict[int, int] | None = None, *prekeys: int, damage: tuple[str, ...] = ()) -> Log:
        return self.call("look", peer="", look=Look(stored or {}, frozenset(prekeys), damage))

    def killed(self) -> Log:
        """The process is dead; the next one goes on."""
        self.now += 10
        self.record.blows.append(Blow(self.now, "killed"))
        self.writer += 1
        return self

    def other(self) -> Log:
        """The next calls are another process's, which was there all the time."""
        self.writer += 1
        return self

    def heard(self, message: int, trouble: str = "") -> Log:
        self.now += 10
        self.record.readings.append(Reading(message, PEER, self.now, trouble))
        return self

    def talked(self, *, out: bool = True, back: bool = True) -> Log:
        self.record.talks.append(Talk(PEER, out, back))
        return self


def verdict(log: Log) -> tuple[set[str], list[str]]:
    """The ids that were checked, and what broke."""
    found = list(judge(log.record))
    return {id_ for id_, _ in found}, [f"{id_} {trouble}" for id_, trouble in found if trouble is not None]


def lost(log: Log, size: int = 1, **fields: Any) -> Log:
    return log.call("encrypt", End.LOST, size=size, **fields).killed()


# -- what holds --------------------------------------------------------------------------------------------------------


def whole() -> Log:
    """A conversation over two kills, in which everything is as it should be."""
    log = Log().opened().call("establish").sent((0, 0)).heard(0).call("bundle", prekeys=(5, 6))
    # Killed in a call that had taken counter 1, then in one that had read letter 1.
    lost(log).opened().sent((2, 2), (3, 3)).heard(2).heard(3)
    log.letter(0, "first", 5).read(0).looked({0: 1}, 6).not_read("", 1, end=End.LOST).killed()
    log.opened().looked({0: 1, 1: 1}, 6).not_read("duplicate-message", 1).not_read("duplicate-message", 0)
    return log.call("tidy", letters=(0, 1)).looked({}, 6).talked()


HELD: list[Callable[[], Log]] = [
    whole,
    # A gap of two has two lost calls, one of a batch that took both.
    lambda: lost(Log().sent((0, 0)), 2).sent((1, 3)),
    lambda: Log(SERVED).sent((0, 0)).call("encrypt", End.UNKNOWN, code="outcome-unknown", size=1).sent((1, 2)),
    # Two processes at once: whichever was told first, counters are taken in some order.
    lambda: Log(SHARED).sent((0, 1), at=(10, 30)).other().sent((1, 0), at=(12, 20)),
    # A letter dealt to two: one reads it, one is told.
    lambda: Log(SHARED).read(0, at=(10, 20)).other().not_read("duplicate-message", 0, at=(8, 15)),
    lambda: Log(SHARED).not_read("conflict", 0).read(0),
    # The prekey served a rival.
    lambda: Log().letter(0, "a", 5).letter(1, "b", 5).read(0).not_read("unknown-prekey", 1),
    # The lost call may have established a session, or not.
    lambda: Log().call("establish", End.LOST).killed().refused("encrypt", "no-session"),
    # A lost batch that was not read at all.
    lambda: Log().not_read("", 0, 1, end=End.LOST).killed().read(0).read(1),
    # A repeat whose chain is gone by now.
    lambda: Log().read(0).not_read("bad-mac", 0),
]


@pytest.mark.parametrize("log", HELD)
def test_it_holds(log: Callable[[], Log]) -> None:
    """Nothing of this may be called a violation: a campaign that cries wolf is turned off."""
    _, broken = verdict(log())
    assert broken == []


def test_a_whole_record_is_judged_by_all() -> None:
    """Each invariant that a campaign can break is checked by an ordinary record, and is in the registry."""
    checked, _ = verdict(whole())
    assert checked >= {"ATM-01", "ATM-02", "ATM-06", "ATM-09", "AUT-01", "CTR-02", "CTR-03", "CTR-08", "KEY-03"}
    assert checked <= {each.id for each in INVARIANTS}


# -- what does not -----------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, set[str], Callable[[], Log]]] = [
    ("a counter again after a kill", {"CTR-02", "ATM-02"}, lambda: Log().sent((0, 0)).killed().sent((1, 0))),
    ("a counter by two processes", {"CTR-02", "ATM-04"}, lambda: Log(SHARED).sent((0, 0)).other().sent((1, 0))),
    ("a gap that nothing explains", {"CTR-02"}, lambda: Log().sent((0, 0)).killed().sent((1, 2))),
    ("two gaps, one lost call", {"CTR-02"}, lambda: lost(Log().sent((0, 0))).sent((1, 2), (2, 4))),
    ("a lost call of another peer", {"CTR-02"}, lambda: lost(Log().sent((0, 0)), peer="peer 2").sent((1, 2))),
    ("a lost call that came too late", {"CTR-02"}, lambda: lost(Log().sent((0, 0)).sent((1, 2)))),
    ("a lost call that came before", {"CTR-02"}, lambda: lost(Log()).sent((0, 0)).sent((1, 1)).sent((2, 3))),
    ("a counter below one handed out", {"CTR-02"}, lambda: lost(Log().sent((0, 2)), 9, at=(0, 99)).sent((1, 1))),
    ("unreadable after a kill", {"ATM-02"}, lambda: Log().sent((0, 0)).killed().heard(0, "refused as bad-mac")),
    ("unreadable, and no kill", {"ATM-04"}, lambda: Log(SHARED).sent((0, 0)).heard(0, "refused as bad-mac")),
    ("read twice over a kill", {"CTR-03", "ATM-02"}, lambda: Log().read(0).killed().read(0)),
    ("read by two", {"CTR-03", "ATM-04"}, lambda: Log(SHARED).read(0).other().read(0)),
    ("a repeat refused for another reason", {"CTR-03"}, lambda: Log().read(0).not_read("too-far-ahead", 0)),
    ("another text", {"AUT-01"}, lambda: Log().letter(0).call("decrypt", letters=(0,), gave=(None,))),
    (
        "it counts as read, and its text is nowhere",
        {"ATM-09"},
        lambda: Log().not_read("", 0, end=End.LOST).killed().looked().not_read("duplicate-message", 0),
    ),
    (
        "its text was there, and it is read again",
        {"ATM-09"},
        lambda: Log().not_read("", 0, end=End.LOST).killed().looked({0: 1}).read(0),
    ),
    ("read, and its text is nowhere", {"ATM-09"}, lambda: Log().read(0).looked()),
    ("read, and its text is there twice", {"ATM-09"}, lambda: Log().read(0).looked({0: 2})),
    (
        "not read, and its text is there",
        {"ATM-09"},
        lambda: Log(SHARED).not_read("conflict", 0).looked({0: 1}),
    ),
    ("refused, and never read", {"ATM-01"}, lambda: Log().killed().not_read("bad-mac", 0)),
    ("refused, and no kill", {"ATM-04"}, lambda: Log(SHARED).not_read("bad-mac", 0)),
    ("a batch refused", {"ATM-01"}, lambda: Log().killed().not_read("bad-mac", 0, 1)),
    (
        "the prekey went without the session",
        {"ATM-01"},
        lambda: Log().letter(0, "a", 5).not_read("", 0, end=End.LOST).killed().not_read("unknown-prekey", 0),
    ),
    (
        "half of a batch was read",
        {"ATM-01"},
        lambda: Log().not_read("", 0, 1, end=End.LOST).killed().looked({0: 1}).not_read("duplicate-message", 0).read(1),
    ),
    ("a prekey handed out twice", {"KEY-03"}, lambda: Log().call("bundle", prekeys=(5,)).call("bundle", prekeys=(5,))),
    ("a prekey for two", {"KEY-03"}, lambda: Log().letter(0, "a", 5).letter(1, "b", 5).read(0).read(1)),
    ("a used prekey is there", {"KEY-03"}, lambda: Log().letter(0, "a", 5).read(0).looked({0: 1}, 5)),
    ("a prekey is gone after a kill", {"ATM-02"}, lambda: Log().call("bundle", prekeys=(5,)).killed().looked()),
    ("a prekey is gone", {"ATM-04"}, lambda: Log(SHARED).call("bundle", prekeys=(5,)).looked()),
    ("another device", {"ATM-06"}, lambda: Log().opened().killed().opened("other")),
    ("it does not open", {"ATM-01"}, lambda: Log().opened().killed().refused("open", "corrupt-store")),
    ("a damaged record", {"ATM-01"}, lambda: Log().killed().looked(damage=("session: a record is damaged",))),
    ("an untyped exception", {"ATM-05"}, lambda: Log().call("encrypt", End.FAILED, code="KeyError: 5", size=1)),
    ("a call without an end", {"ATM-04"}, lambda: Log(SHARED).call("encrypt", End.HUNG, size=1)),
    ("a conflict with nobody", {"ATM-04"}, lambda: Log().refused("encrypt", "conflict")),
    ("an error without a reason", {"ATM-05"}, lambda: Log(SHARED).refused("encrypt", "storage-error")),
    ("an unknown outcome without one", {"ATM-05"}, lambda: Log().call("encrypt", End.UNKNOWN, code="outcome-unknown")),
    ("a session is gone", {"ATM-02"}, lambda: Log().call("establish").killed().refused("encrypt", "no-session")),
    ("an argument refused", {"ATM-01"}, lambda: Log().killed().refused("bundle", "corrupt-store")),
    ("deaf in the end", {"CTR-08"}, lambda: Log().talked(out=False)),
    ("unheard in the end", {"CTR-08"}, lambda: Log().talked(back=False)),
]


@pytest.mark.parametrize(("ids", "log"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_it_breaks(ids: set[str], log: Callable[[], Log]) -> None:
    """Each is named by the invariants that it breaks, and by no other."""
    _, broken = verdict(log())
    assert {each.split()[0] for each in broken} == ids


def test_a_finding_names_who_and_what() -> None:
    """A person can go and look: which processes, which messages, which counter."""
    _, broken = verdict(Log().sent((0, 7)).killed().sent((1, 7)))
    assert "ATM-02 counter 7 of chain chain twice: writer 1 gave it to message 0, writer 2 to message 1" in broken
    _, broken = verdict(Log().killed().not_read("bad-mac", 3))
    assert broken == ["ATM-01 letter 3 was never read, yet decrypt of letter 3 by writer 2 (refused as bad-mac)"]


# -- one order of all jobs ---------------------------------------------------------------------------------------------


def heard(log: Log, number: int, ratchet: str, **fields: Any) -> Log:
    """A letter under a ratchet key of the peer's, and its reading."""
    log.record.letters[number] = Letter(number, PEER, "session", None, ratchet)
    return log.read(number, **fields)


def turns() -> Log:
    """Two turns each, a job that was lost with its parent, and two that overlap."""
    log = heard(Log().sent((0, 0), (1, 1), chain="a"), 0, "r").sent((2, 0), chain="b")
    heard(heard(lost(log).sent((3, 2), chain="b"), 1, "r"), 2, "s").sent((4, 0), chain="c")
    log.sent((6, 2), chain="c", at=(900, 950)).sent((5, 1), chain="c", at=(910, 940)).now = 1000
    return log.not_read("duplicate-message", 1)


OUT_OF_ORDER: list[tuple[str, str, Callable[[], Log]]] = [
    ("a counter is skipped", "encrypt for", lambda: turns().sent((7, 4), chain="c")),
    ("a chain goes on after a ratchet step", "encrypt for", lambda: heard(turns(), 3, "t").sent((7, 3), chain="c")),
    ("a chain begins without one", "encrypt for", lambda: turns().sent((7, 0), chain="d")),
    ("a letter is read again", "decrypt of letter 1", lambda: heard(turns(), 1, "r")),
    ("a duplicate of nothing", "decrypt of letter 9", lambda: turns_refusing(9)),
    (
        "a job is seen before it began",
        "encrypt for",
        lambda: turns().sent((7, 4), chain="c", at=(1010, 1020)).sent((8, 3), chain="c", at=(1030, 1040)),
    ),
]


def turns_refusing(number: int) -> Log:
    log = turns()
    log.record.letters[number] = Letter(number, PEER, "session", None, "s")
    return log.not_read("duplicate-message", number)


def test_an_order_explains_all_jobs() -> None:
    """Issue: "Linearizability of the store under concurrent jobs is checked, not assumed"."""
    found = [each for each in judge(turns().record, pooled=True) if each[0] == "WRK-07"]
    assert found == [("WRK-07", None)]
    assert "WRK-07" not in dict(judge(turns().record))


@pytest.mark.parametrize(("stuck", "log"), [case[1:] for case in OUT_OF_ORDER], ids=[case[0] for case in OUT_OF_ORDER])
def test_no_order_explains_them(stuck: str, log: Callable[[], Log]) -> None:
    """WRK-07: some order of all of a session's jobs explains what each was answered."""
    [(_, trouble)] = [each for each in judge(log().record, pooled=True) if each[0] == "WRK-07"]
    assert trouble is not None
    assert f"jobs for {PEER}" in trouble.replace("calls", "jobs")
    assert stuck in trouble.split(": ", 1)[1]
