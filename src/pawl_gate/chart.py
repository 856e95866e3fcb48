"""Sequence charts: what happened in a history, for people.

One lane for each party that takes part and one for the network, where the attacker sits; one row for each operation
that did something. `layout` says what is on a chart. `chart` draws it in plain ASCII, so that it reads the same in a
terminal, a CI log and a mail; the page of `pawl_gate.page` draws the same layout as a picture.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

from pawl_gate.visible import visible
from pawl_spec.history import Event, Grouped, History, Outcome
from pawl_spec.registry import Violation
from pawl_spec.trace import (
    DAMAGES,
    FORGERIES,
    GROUP_TAMPERS,
    GROUPS,
    JUNK,
    LAYOUTS,
    MEDIA,
    PARTIES,
    RIVALS,
    SMUGGLES,
    STORE_FAULTS,
    TAMPERS,
    Kind,
    describe,
)

LANE: Final = 15
"""Columns from one lane to the next: room for an arrow with a word on it."""

MARGIN: Final = 9
"""Columns before the first lane: the step's number, and a mark where it broke."""

NETWORK: Final = -1
"""The lane of the network, between the first party and the others."""

FORGED: Final = {
    "bad-signature": "with a changed signature",
    "swap-signed-prekey": "with the attacker's signed prekey in it",
    "swap-identity": "with the attacker's identity key in it",
    "attacker-bundle": "that is all the attacker's",
    "low-order-signed-prekey": "signed by the attacker, with a signed prekey of small order",
    "low-order-prekey": "with a one-time prekey of small order",
    "swap-prekey": "with the attacker's one-time prekey in it",
    "key-type": "with a key of an unknown type",
    "short-signature": "with a signature cut short",
    "prekey-id": "with a one-time prekey id that is nobody's",
    "untyped-signed-prekey": "with a signed prekey without its type byte",
    "untyped-prekey": "with a one-time prekey without its type byte",
    "untyped-identity-key": "with an identity key without its type byte",
    "long-key": "with a signed prekey that is too long",
    "empty-key": "with an empty signed prekey",
    "long-signature": "with a signature that is too long",
}

CHANGED: Final = {
    "mac": "its MAC changed",
    "ciphertext": "its ciphertext changed",
    "counter": "its counter raised",
    "previous-counter": "its previous counter raised",
    "ratchet-key": "another ratchet key",
    "version": "another version byte",
    "truncate": "its end cut off",
    "unknown-field": "an unknown field put in",
    "duplicate-field": "a field repeated",
    "overlong-varint": "a number encoded too long",
    "registration-id": "another registration id",
    "prekey-id": "another one-time prekey id",
    "drop-prekey-id": "its one-time prekey id left out",
    "signed-prekey-id": "another signed prekey id",
    "base-key": "another base key",
    "identity-key": "another identity key",
    "present-identity": "its sender's new identity key outside",
    "outer-version": "another version byte outside",
    "low-order-identity": "an identity key of small order",
    "low-order-base-key": "a base key of small order",
    "low-order-ratchet-key": "a ratchet key of small order",
    "reorder-fields": "its fields in another order",
    "wrong-wire-type": "a field of the wrong wire type",
    "outer-unknown-field": "an unknown field put in outside",
    "outer-duplicate-field": "a field repeated outside",
    "outer-overlong-varint": "a number encoded too long outside",
    "trailing-byte": "a byte added at its end",
    "drop-ratchet-key": "its ratchet key left out",
    "drop-counter": "its counter left out",
    "drop-previous-counter": "its previous counter left out",
    "drop-ciphertext": "its ciphertext left out",
    "drop-base-key": "its base key left out",
    "drop-identity-key": "its identity key left out",
    "drop-message": "its inner message left out",
    "drop-registration-id": "its registration id left out",
    "drop-signed-prekey-id": "its signed prekey id left out",
    "oversized-ciphertext": "a ciphertext over the limit",
    "oversized-key": "a ratchet key of 64 bytes",
    "prekey-id-zero": "one-time prekey id 0",
    "untyped-base-key": "a base key without its type byte",
    "untyped-identity-key": "an identity key without its type byte",
    "untyped-ratchet-key": "a ratchet key without its type byte",
    "respelled-base-key": "other bytes for the same base key",
    "respelled-identity-key": "other bytes for the same identity key",
}

GROUP_CHANGED: Final = {
    "signature": "its signature changed",
    "ciphertext": "its ciphertext changed",
    "iteration": "its iteration raised",
    "chain-id": "another chain id",
    "distribution-id": "another group's id",
    "re-signed": "the attacker's own signature",
    "version": "another version byte",
    "truncate": "its end cut off",
    "trailing-byte": "a byte added at its end",
    "unknown-field": "an unknown field put in",
    "reorder-fields": "its fields in another order",
    "duplicate-field": "a field repeated",
    "overlong-varint": "a number encoded too long",
    "wrong-wire-type": "a field of the wrong wire type",
    "drop-distribution-id": "its group left out",
    "drop-chain-id": "its chain id left out",
    "drop-iteration": "its iteration left out",
    "drop-ciphertext": "its ciphertext left out",
    "empty": "nothing in it",
    "signature-alone": "nothing but its signature",
    "oversized-ciphertext": "a ciphertext over the limit",
}

SMUGGLED: Final = {
    "own": "a chain of the attacker's own",
    "last-iterations": "a chain of the attacker's own, near its last iteration",
    "collision-own": "a chain of the attacker's own, with the id of the real one",
    "collision-other": "a chain of the attacker's own, with the id of another member's",
    "relayed": "another member's chain",
    "rewound": "the real chain at iteration 0, with another key",
    "other-group": "a chain of the attacker's own, which names another group",
    "low-order-signing-key": "with a signing key of small order",
    "version": "with another version byte",
    "truncate": "with its end cut off",
    "trailing-byte": "with a byte added at its end",
    "unknown-field": "a chain of the attacker's own, with an unknown field put in",
    "duplicate-field": "with a field repeated",
    "overlong-varint": "with a number encoded too long",
    "wrong-wire-type": "with a field of the wrong wire type",
    "drop-distribution-id": "with its group left out",
    "drop-chain-id": "with its chain id left out",
    "drop-iteration": "with its iteration left out",
    "drop-chain-key": "with its chain key left out",
    "drop-signing-key": "with its signing key left out",
    "short-chain-key": "with a chain key of 31 bytes",
    "untyped-signing-key": "with a signing key without its type byte",
}

STORE_FAULT_WORDS: Final = {
    "fails": "it cannot",
    "busy": "somebody else holds it for too long",
    "conflict": "a row changed since it was read",
}
"""How a store refuses a call, by its name in a trace."""

MADE_UP: Final = {
    "empty": "an empty message",
    "version-only": "a message of one version byte",
    "random": "random bytes",
    "version-random": "random bytes behind a version byte",
    "well-formed": "a well-formed message that nobody sent",
    "oversized": "a message over every limit",
    "huge-length": "a message with a field that claims a huge length",
}


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow of a step, from lane to lane."""

    start: int
    end: int
    label: str
    arrives: bool
    """Whether what it carries was accepted."""


@dataclass(frozen=True, slots=True)
class Step:
    """A row of a chart: one operation that did something."""

    number: int
    arrows: tuple[Arrow, ...]
    at: int | None
    """The lane where it happened, if no arrow shows it."""
    text: str
    """What happened, in words."""
    broken: str | None = None
    """What was wrong, on the step that breaks an invariant."""


@dataclass(frozen=True, slots=True)
class Note:
    """A row of a chart that is no step: steps that were left out, or the begin of the closing part."""

    text: str
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What a chart shows, whatever it is drawn with."""

    lanes: tuple[int, ...]
    """Parties, and NETWORK, from left to right."""
    rows: tuple[Step | Note, ...]


def layout(history: History, *, broken: Violation | None = None, rows: int | None = None) -> Layout:
    """The lanes and rows of a history's chart. The violation's row holds what was wrong.

    With `rows`, of a longer history only the first rows and those around the violation (or the last) are shown.
    """
    shown = [event for event in history.events if _did_something(event)]
    if history.closing is not None and (broken is None or broken.event.step < history.closing):
        shown = [event for event in shown if event.step < history.closing]
    lanes = _lanes(shown)
    drawn: list[Step | Note] = []
    before = -1
    for event in _window(shown, broken, rows):
        at = shown.index(event)
        if at - before > 1:
            drawn.append(Note(f"{at - before - 1} steps left out", left_out=True))
        if history.closing is not None and event.step >= history.closing > (shown[at - 1].step if at else -1):
            drawn.append(Note("now the network delivers everything, and both sides of each pair talk again"))
        drawn.append(_step(event, lanes, broken.what if broken is not None and event is broken.event else None))
        before = at
    if not shown:
        drawn.append(Note("nothing happened: no operation had anything to act on"))
    elif (left := len(shown) - 1 - before) > 0 and broken is None:
        drawn.append(Note(f"{left} steps left out", left_out=True))
    return Layout(lanes, tuple(drawn))


def lane_name(lane: int) -> str:
    """What stands above a lane."""
    return "network" if lane == NETWORK else PARTIES[lane]


def _step(event: Event, lanes: tuple[int, ...], broken: str | None) -> Step:
    arrows = _arrows(event)
    seen = tuple(arrow for arrow in arrows if arrow.start in lanes and arrow.end in lanes)
    where = NETWORK if event.op.kind in (Kind.DUPLICATE, Kind.DROP) else event.actor
    at = where if not arrows and where in lanes else None
    return Step(event.step, seen, at, sentence(event), broken)


def chart(history: History, *, broken: Violation | None = None, rows: int | None = None) -> str:
    """Draw a history in plain text, each line ended by a newline; the arguments are those of `layout`.

    The violation's row is marked, with what was wrong under it.
    """
    what = layout(history, broken=broken, rows=rows)
    columns = {lane: MARGIN + 3 + LANE * at for at, lane in enumerate(what.lanes)}
    lines = [_head(columns)]
    for row in what.rows:
        if isinstance(row, Note):
            lines.append(f"{'...' if row.left_out else '':>6}".ljust(MARGIN) + row.text)
            continue
        lines.append(_row(row, columns))
        if row.broken is not None:
            lines += textwrap.wrap(
                row.broken, 90, initial_indent=" " * MARGIN + "^ ", subsequent_indent=" " * MARGIN + "  "
            )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _did_something(event: Event) -> bool:
    return event.outcome is not Outcome.SKIPPED and event.op.kind is not Kind.NOP


def _window(shown: list[Event], broken: Violation | None, rows: int | None) -> list[Event]:
    """The events to draw: all, or the first few and those that lead to the violation (or the end)."""
    end = next((at + 1 for at, event in enumerate(shown) if broken is not None and event is broken.event), len(shown))
    # What follows a violation says nothing more about it.
    shown = shown[:end]
    if rows is None or len(shown) <= rows:
        return shown
    first = rows // 3
    return shown[:first] + shown[len(shown) - (rows - first) :]


def _lanes(shown: list[Event]) -> tuple[int, ...]:
    """The parties that take part, the network behind the first of them."""
    parties = sorted({p for event in shown for p in (event.actor, event.peer) if p is not None and p >= 0})
    return (*parties[:1], NETWORK, *parties[1:])


def _head(columns: dict[int, int]) -> str:
    line = f"{'step':>6}"
    for lane, column in columns.items():
        name = lane_name(lane)
        line = line.ljust(column - len(name) // 2) + name
    return line


def _row(step: Step, columns: dict[int, int]) -> str:
    width = max(columns.values()) + 4
    line = list(f"{'' if step.broken is None else '>>':>2}{step.number:>4}".ljust(width))
    for lane, column in columns.items():
        line[column] = ":" if lane == NETWORK else "|"
    for arrow in step.arrows:
        _draw(line, columns[arrow.start], columns[arrow.end], arrow.label, arrow.arrives)
    if step.at is not None:
        line[columns[step.at]] = "*"
    return "".join(line) + step.text


def _draw(line: list[str], start: int, end: int, label: str, arrives: bool) -> None:
    """An arrow from one column to another: `--m0-->`, or `--m0--x` for what is refused."""
    low, high = min(start, end), max(start, end)
    for at in range(low + 1, high):
        line[at] = "-" if line[at] == " " else line[at]
    if end > start:
        line[end - 1] = ">" if arrives else "x"
        at = low + 2
    else:
        line[end + 1] = "<" if arrives else "x"
        at = low + 3
    line[at : at + len(label)] = label


def _arrows(event: Event) -> list[Arrow]:
    """The arrows of an event."""
    kind, arrives = event.op.kind, event.outcome is Outcome.DONE
    if event.actor is None:
        return []
    name = "?" if event.message is None else f"m{event.message}"
    if kind is Kind.SEND and event.message is not None:
        return [Arrow(event.actor, NETWORK, name, True)]
    if kind is Kind.BURST and event.counters:
        return [Arrow(event.actor, NETWORK, f"{len(event.counters)} lost", True)]
    if kind is Kind.ESTABLISH and event.peer is not None:
        return [Arrow(event.peer, event.actor, "bundle", arrives)]
    if kind is Kind.FORGE_BUNDLE:
        return [Arrow(NETWORK, event.actor, "forged", arrives)]
    if kind is Kind.INJECT:
        return [Arrow(NETWORK, event.actor, "junk", arrives)]
    if kind is Kind.TAMPER:
        return [Arrow(NETWORK, event.actor, f"{name}*", arrives)]
    if kind in (Kind.DELIVER, Kind.REDIRECT, Kind.REPLAY):
        return [Arrow(NETWORK, event.actor, name, arrives)]
    return _group_arrows(event, event.actor, arrives)


def _group_arrows(event: Event, actor: int, arrives: bool) -> list[Arrow]:
    """The same for what happens in a group: g0, g1 are its messages, d0, d1 the distributions of its chains."""
    kind, grouped = event.op.kind, event.group or Grouped()
    if kind in (Kind.GROUP_SEND, Kind.GROUP_SHARE) and grouped.message is not None:
        return [Arrow(actor, NETWORK, f"g{grouped.message}", True)]
    if kind is Kind.GROUP_CREATE and grouped.distribution is not None:
        return [Arrow(actor, NETWORK, f"d{grouped.distribution}", True)]
    if kind is Kind.GROUP_JOIN:
        return [Arrow(NETWORK, actor, f"d{grouped.distribution}", arrives)]
    if kind is Kind.GROUP_TAMPER:
        return [Arrow(NETWORK, actor, f"g{grouped.message}*", arrives)]
    if kind in (Kind.GROUP_DELIVER, Kind.GROUP_REDIRECT):
        return [Arrow(NETWORK, actor, f"g{grouped.message}", arrives)]
    return []


def sentence(event: Event) -> str:
    """One event in words: who did what, and how it ended."""
    actor, peer = _name(event.actor), _name(event.peer)
    name = "a message" if event.message is None else f"m{event.message}"
    op = event.op
    match op.kind:
        case Kind.ESTABLISH:
            with_key = "" if event.prekey_id is None else f" with one-time prekey {event.prekey_id}"
            return _ended(event, f"{actor} starts a session from {peer}'s bundle{with_key}")
        case Kind.FORGE_BUNDLE:
            return _ended(event, f"{actor} is handed a bundle for {peer} {FORGED[FORGERIES[op['how']]]}", "accepts it")
        case Kind.SEND:
            said = "" if event.header is None else f": {event.header.kind} message, counter {event.header.counter}"
            return _ended(event, f"{actor} sends {name} to {peer}{said}")
        case Kind.BURST:
            counters = f" (counters {event.counters[0]} to {event.counters[-1]})" if event.counters else ""
            return _ended(event, f"{actor} sends {peer} {len(event.counters)} messages, all lost{counters}")
        case Kind.DELIVER:
            return _ended(event, f"{actor} gets {name}", _reads(event))
        case Kind.REPLAY:
            return _ended(event, f"{actor} gets {name} again", _reads(event))
        case Kind.REDIRECT:
            return _ended(event, f"{actor} gets {name} as if from {peer}", _reads(event))
        case Kind.TAMPER:
            return _ended(event, f"{actor} gets {name} with {CHANGED[TAMPERS[op['field']]]}", _reads(event))
        case Kind.INJECT:
            return _ended(event, f"{actor} gets {MADE_UP[JUNK[op['what']]]} as if from {peer}", _reads(event))
        case Kind.DUPLICATE:
            return f"the network makes a second copy of {name}"
        case Kind.DROP:
            return f"the network loses {name}"
        case Kind.REINSTALL:
            return _ended(event, f"{actor} loses its store and starts again with a new identity")
        case Kind.APPROVE:
            return _ended(event, f"{actor} approves {peer}'s present identity key")
        case Kind.RESTART:
            return _ended(event, f"{actor} restarts from what is stored")
        case Kind.CRASH:
            return _ended(event, f"{actor} is to crash at store step {op['at']} of what it does next")
        case Kind.INSPECT:
            return _ended(
                event, f"the attacker takes {actor}'s session state and reads {_names(event.readable)}{_seen(event)}"
            )
        case Kind.COMPROMISE:
            return _ended(
                event, f"the attacker takes all that {actor} has stored and reads {_names(event.reads)}{_seen(event)}"
            )
        case Kind.ATTACK:
            return _ended(event, f"the attacker tries all that it took and reads {_names(event.reads)}{_seen(event)}")
        case Kind.CLOCK:
            return f"{op['days']} days pass"
        case Kind.ROTATE:
            return _ended(event, f"{actor} makes a new signed prekey")
        case Kind.MAINTAIN:
            return _ended(event, f"{actor} deletes what is past its time{', and rotates' if event.rotated else ''}")
        case Kind.FORGET:
            return _ended(event, f"{actor} loses its sessions with {peer}")
        case Kind.CALLBACK:
            named = describe(op.kind, "callback", op["callback"])
            return f"{actor}'s next {named} callback does this: {describe(op.kind, 'how', op['how'])}"
        case Kind.COMPATIBILITY:
            return _ended(event, f"{actor} is opened with compatibility: {describe(op.kind, 'option', op['option'])}")
        case Kind.DAMAGE:
            named = describe(op.kind, "table", op["table"])
            return f"what {actor} does next is tried on {named} records that are damaged ({DAMAGES[op['how']]})"
        case Kind.MEDIUM:
            named = describe(op.kind, "table", op["table"])
            return f"what {actor} does next is tried on its store after {MEDIA[op['how']]} (records: {named})"
        case Kind.STORE_FAULT:
            named = STORE_FAULT_WORDS[STORE_FAULTS[op["how"]]]
            return f"{actor}'s store is to refuse call {op['at']} of what {actor} does next: {named}"
        case Kind.RIVAL:
            named = "send to the same peer" if RIVALS[op["how"]] == "send" else "read the same message"
            return f"another process with {actor}'s store is to {named} before what {actor} does next is committed"
        case _ if op.kind.word.startswith("group-"):
            return _group_sentence(event, actor, peer)
        case _:
            return str(op)


def _group_sentence(event: Event, actor: str, peer: str) -> str:
    """The same for what happens in a group."""
    op, grouped = event.op, event.group or Grouped()
    group = "a group" if grouped.group is None else f"the {GROUPS[grouped.group]}"
    message = "a group message" if grouped.message is None else f"g{grouped.message}"
    chain = "a distribution" if grouped.distribution is None else f"d{grouped.distribution}"
    match op.kind:
        case Kind.GROUP_SHARE:
            given = ", ".join(f"m{each.message} for {PARTIES[each.peer]}" for each in grouped.gave)
            return _ended(
                event,
                f"{actor} sends {message} to all members of {group}" + (f", and {chain} ({given})" if given else ""),
            )
        case Kind.GROUP_CAME:
            return _ended(event, f"{actor} knows that its chain in {group} has come")
        case Kind.GROUP_LAYOUT:
            return _ended(event, f"{group} is to have the {LAYOUTS[op['layout']]} layout")
        case Kind.GROUP_CREATE:
            return _ended(event, f"{actor} makes {chain}, a distribution of its chain in {group}")
        case Kind.GROUP_JOIN:
            return _ended(event, f"{actor} gets {chain} of {peer} for {group}", "takes it")
        case Kind.GROUP_SEND:
            said = "" if grouped.header is None else f", iteration {grouped.header.iteration}"
            return _ended(event, f"{actor} sends {message} to {group}{said}")
        case Kind.GROUP_DELIVER:
            return _ended(event, f"{actor} gets {message} of {peer} in {group}", _reads_group(grouped))
        case Kind.GROUP_ROTATE:
            return _ended(event, f"{actor} begins a new chain in {group}")
        case Kind.GROUP_MEMBERS:
            named = [name for party, name in enumerate(PARTIES) if op["mask"] >> party & 1 and party != event.actor]
            return _ended(event, f"{actor} makes {', '.join(named) or 'nobody'} the members of {group}")
        case Kind.GROUP_FORGET:
            return _ended(event, f"{actor} lets the chains of {peer} in {group} go")
        case Kind.GROUP_TAMPER:
            changed = GROUP_CHANGED[GROUP_TAMPERS[op["field"]]]
            return _ended(event, f"{actor} gets {message} with {changed}", _reads_group(grouped))
        case Kind.GROUP_REDIRECT:
            return _ended(event, f"{actor} gets {message} as if from {peer} in {group}", _reads_group(grouped))
        case Kind.GROUP_SMUGGLE:
            what = SMUGGLED[SMUGGLES[op["how"]]]
            return _ended(event, f"{PARTIES[op['sender']]}, who is malicious, makes {chain} for {group}: {what}")
        case _:  # Kind.GROUP_CRAFT
            return _ended(event, f"the attacker sends {message} to {group} on its own chain, {op['ahead']} ahead")


def _reads_group(grouped: Grouped) -> str:
    if grouped.plaintext is None or grouped.plaintext == grouped.message:
        return "reads it"
    return "reads what nobody sent" if grouped.plaintext < 0 else f"reads g{grouped.plaintext}"


def _name(party: int | None) -> str:
    return PARTIES[party] if party is not None and 0 <= party < len(PARTIES) else "a party"


def _reads(event: Event) -> str:
    if event.plaintext is None or event.plaintext == event.message:
        return "reads it"
    return "reads what nobody sent" if event.plaintext < 0 else f"reads m{event.plaintext}"


def _names(handles: tuple[int, ...] | None) -> str:
    return ", ".join(f"m{handle}" for handle in handles or ()) or "nothing"


def _seen(event: Event) -> str:
    """What the attacker read of groups, for the end of a sentence."""
    grouped = event.group or Grouped()
    handles = grouped.readable or grouped.reads
    return "" if not handles else ", and of groups " + ", ".join(f"g{handle}" for handle in handles)


def _ended(event: Event, text: str, done: str = "") -> str:
    """Append how the event ended. `done` is said where it was carried out."""
    match event.outcome:
        case Outcome.DONE:
            return f"{text}: {done}" if done else text
        case Outcome.REFUSED:
            own_words = f" ({_short(event.text)})" if event.code in (None, "unknown") and event.text else ""
            return f"{text}: refused, {event.code or 'unknown'}{own_words}"
        case Outcome.CRASHED:
            return f"{text}: crashes on the way, as asked"
        case Outcome.DIED:
            return f"{text}: DIED, {_short(event.text)}"
        case Outcome.HUNG:
            return f"{text}: HUNG, no answer in time"
        case _:
            return f"{text}: nothing to do"


def _short(text: str, most: int = 80) -> str:
    """A target's own words on one line."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 3] + "..."
