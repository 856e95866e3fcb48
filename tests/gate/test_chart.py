"""Sequence charts: what a stranger reads in a CI log must say who did what, how it ended, and where it broke."""

from __future__ import annotations

import pytest

from pawl_gate.chart import CHANGED, FORGED, MADE_UP, chart, sentence
from pawl_spec.history import Event, Header, Hello, History, Observe, Outcome
from pawl_spec.registry import Violation
from pawl_spec.trace import FORGERIES, JUNK, TAMPERS, Kind, Trace, op

HELLO = Hello("acme", "1.0", Observe.WIRE, frozenset())
HEADER = Header("prekey", 0x33, "aa", 0, 0)
ALICE, BOB, CAROL = 0, 1, 2


def history(*events: Event, closing: int | None = None) -> History:
    return History(HELLO, Trace(tuple(event.op for event in events)), list(events), closing)


def conversation() -> list[Event]:
    """A session, one message sent, delivered, and replayed with success."""
    return [
        Event(0, op(Kind.ESTABLISH, peer=BOB, one_time=1), Outcome.DONE, ALICE, BOB, prekey_id=7),
        Event(1, op(Kind.SEND, peer=BOB), Outcome.DONE, ALICE, BOB, message=0, header=HEADER),
        Event(2, op(Kind.DELIVER), Outcome.DONE, BOB, ALICE, message=0, plaintext=0),
        Event(3, op(Kind.REPLAY), Outcome.DONE, BOB, ALICE, message=0, plaintext=0),
    ]


def test_chart_shows_lanes_arrows_and_the_violation() -> None:
    """style.md, "A command": a counterexample is a sequence chart. Drawn to the letter, marked where it broke."""
    events = conversation()
    drawn = chart(history(*events), broken=Violation(events[3], "m0 was delivered before"))
    assert drawn == (
        "  step    alice         network          bob\n"
        "     0      |<-bundle------:--------------|   alice starts a session from bob's bundle with one-time prekey 7\n"
        "     1      |-m0---------->:              |   alice sends m0 to bob: prekey message, counter 0\n"
        "     2      |              :-m0---------->|   bob gets m0: reads it\n"
        ">>   3      |              :-m0---------->|   bob gets m0 again: reads it\n"
        "         ^ m0 was delivered before\n"
    )


def test_refused_arrow_ends_in_x_and_names_the_code() -> None:
    """A refusal is drawn as an arrow that does not arrive, with its code."""
    refused = Event(0, op(Kind.TAMPER), Outcome.REFUSED, BOB, ALICE, code="bad-mac", message=0)
    assert ":-m0*---------x|   bob gets m0 with its MAC changed: refused, bad-mac" in chart(history(refused))


@pytest.mark.parametrize(("kind", "words"), [(Kind.DUPLICATE, "makes a second copy of m1"), (Kind.DROP, "loses m1")])
def test_what_the_network_does_is_marked_on_its_lane(kind: Kind, words: str) -> None:
    """A copy or a loss happens to no party: its mark stands on the network's lane."""
    events = [*conversation()[:2], Event(2, op(kind), Outcome.DONE, message=1)]
    assert (
        chart(history(*events)).splitlines()[-1] == f"     2      |              *              |   the network {words}"
    )


def test_own_words_of_a_target_are_shown_where_it_has_no_code() -> None:
    """A foreign target says "unknown" with its own text; the text is kept to one line."""
    unknown = Event(0, op(Kind.DELIVER), Outcome.REFUSED, BOB, ALICE, code="unknown", text="Bad\n  MAC", message=0)
    assert sentence(unknown) == "bob gets m0: refused, unknown (Bad MAC)"


def test_steps_that_did_nothing_are_left_out() -> None:
    """A step with nothing to act on explains nothing; the numbers of the others stay."""
    events = [Event(0, op(Kind.NOP), Outcome.SKIPPED), *(e for e in conversation() if e.step)]
    drawn = chart(history(*events))
    assert "     0 " not in drawn
    assert "     1 " in drawn


def test_network_stands_between_two_parties_and_others_come_behind() -> None:
    """The attacker's lane lies beside the first party, whoever takes part."""
    redirected = Event(0, op(Kind.REDIRECT, to=CAROL), Outcome.REFUSED, CAROL, BOB, code="no-session", message=3)
    assert chart(history(redirected)).splitlines()[0].split() == ["step", "bob", "network", "carol"]
    drawn = chart(history(*conversation(), redirected))
    assert drawn.splitlines()[0].split() == ["step", "alice", "network", "bob", "carol"]


def test_long_histories_are_cut_around_the_violation() -> None:
    """Of a long trace the beginning and what leads to the violation are shown, and how much is not."""
    sends = [
        Event(at, op(Kind.SEND, peer=BOB), Outcome.DONE, ALICE, BOB, message=at, header=HEADER) for at in range(100)
    ]
    drawn = chart(history(*sends), broken=Violation(sends[90], "why"), rows=12)
    assert "79 steps left out" in drawn
    assert len(drawn.splitlines()) == 12 + 3
    assert ">>  90" in drawn
    assert "  91 " not in drawn


def test_closing_part_is_drawn_only_where_it_broke() -> None:
    """The closing part is the same in every trace, so it is shown only where the violation lies in it."""
    events = conversation()
    early = chart(history(*events, closing=3), broken=Violation(events[2], "why"))
    assert "network delivers everything" not in early
    late = chart(history(*events, closing=3), broken=Violation(events[3], "why"))
    assert "now the network delivers everything" in late.splitlines()[4]


def test_nothing_happened_is_said() -> None:
    """An empty chart would look like a fault of the report."""
    assert "nothing happened" in chart(history())


def test_deaths_and_hangs_are_loud() -> None:
    """CRASH and HANG are results; a reader must not overlook them."""
    died = Event(0, op(Kind.INJECT, sender=BOB), Outcome.DIED, ALICE, BOB, text="IndexError: 3")
    hung = Event(0, op(Kind.INJECT, sender=BOB), Outcome.HUNG, ALICE, BOB)
    assert sentence(died).endswith("DIED, IndexError: 3")
    assert sentence(hung).endswith("HUNG, no answer in time")


def test_every_choice_of_the_attacker_has_words() -> None:
    """The lists of the trace are append-only: whoever adds an entry must say here what it is called."""
    assert (set(CHANGED), set(FORGED), set(MADE_UP)) == (set(TAMPERS), set(FORGERIES), set(JUNK))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_event_can_be_drawn(kind: Kind, outcome: Outcome) -> None:
    """A report must not fail on an event with little in it: whatever kind and outcome, it is one row."""
    bare = Event(0, op(kind), outcome)
    acted = Event(1, op(kind), outcome, ALICE, BOB, message=0)
    for event in (bare, acted):
        assert "\n" not in sentence(event)
        assert len(chart(history(event)).splitlines()) == 2
