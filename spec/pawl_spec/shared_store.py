"""What must hold of a store that real processes share, are killed over, and lose their server under.

A campaign writes down what each process was told, and when; the predicates here say what may not have happened. Each
yields the invariant that it judges, and None where that held. Nothing else is known of a process that was killed: the
call that it was in may have happened or not, whole.

Threat        T-DESYNC, T-REPLAY, T-KEYS.
Source        Threat model, "State Desynchronization and Partial Writes", "Message Replay / Counter Reuse".
Not covered   What a process did and nobody was told, as long as nothing shows it; the machine's own end (power loss).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final, NamedTuple

from pawl_spec.linear import Step, TooMany, stuck


class End(Enum):
    """How a call ended, as its caller saw it."""

    DONE = "done"
    REFUSED = "refused"
    """By a typed refusal: nothing happened."""
    UNKNOWN = "unknown"
    """Refused as `outcome-unknown`: it happened or not, whole."""
    LOST = "lost"
    """Its process was killed before the caller was told: it happened or not, whole."""
    FAILED = "failed"
    """By an exception that is no typed refusal, or the process died of itself."""
    HUNG = "hung"


OPEN_ENDED: Final = (End.LOST, End.UNKNOWN)
"""Ends after which a call may have happened or not."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A ciphertext that a process handed out."""

    message: int
    chain: str
    """The sender's ratchet key."""
    counter: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a process found in the store while no other one used it."""

    stored: Mapping[int, int]
    """How often the plaintext of each letter is there, by the application's hook."""
    prekeys: frozenset[int]
    """Ids of one-time prekeys."""
    damage: tuple[str, ...] = ()
    """Records that do not verify."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one process. Times are nanoseconds of one clock that all processes read."""

    writer: str
    """Which process, for people."""
    what: str
    """`open`, `encrypt`, `decrypt`, `bundle`, `establish`, `forget`, `tidy` or `look`."""
    began: int
    """Not before this."""
    ended: int
    """Not after this; of a process that was killed, when it was dead."""
    end: End
    code: str = ""
    """Of a refusal; of a failure, what was raised."""
    peer: str = ""
    size: int = 0
    """Of `encrypt`: how many ciphertexts were asked for."""
    sent: tuple[Sent, ...] = ()
    """Of `encrypt`: those that were handed out."""
    letters: tuple[int, ...] = ()
    """Of `decrypt`: what was to be read; of `tidy`: whose plaintexts the application deleted."""
    gave: tuple[int | None, ...] = ()
    """Of `decrypt`: the letter that each plaintext is of; None: of none."""
    prekeys: tuple[int, ...] = ()
    """Of `bundle`: the one-time prekeys that were handed out."""
    identity: str = ""
    """Of `open`: the device's identity key."""
    look: Look | None = None

    def __str__(self) -> str:
        """For people: who did what, and how it ended."""
        about = f" for {self.peer}" if self.peer else ""
        if self.what == "decrypt":
            about = f" of letter {', '.join(map(str, self.letters))}"
        told = {End.REFUSED: f"refused as {self.code}", End.FAILED: f"failed by {self.code}"}.get(self.end)
        return f"{self.what}{about} by {self.writer} ({told or self.end.value})"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message from a peer to the store's device."""

    number: int
    peer: str
    session: str
    """The base key of its session."""
    prekey: int | None
    """The one-time prekey that it names."""
    ratchet: str = ""
    """The peer's ratchet key in it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a peer made of a ciphertext of the store's device."""

    message: int
    peer: str
    at: int
    trouble: str
    """Empty: it was read, and gave the text that was encrypted."""


@dataclass(frozen=True, slots=True)
class Blow:
    """What struck: a process or the server was killed."""

    at: int
    what: str


@dataclass(frozen=True, slots=True)
class Talk:
    """Whether a peer hears and is heard in the end, with everything delivered and nothing striking any more."""

    peer: str
    out: bool
    back: bool
    what: str = ""


@dataclass(slots=True)
class Record:
    """All that happened to one store. Calls of one process stand in the order in which it took them."""

    troubles: frozenset[str]
    """Refusals that the campaign gives a reason for: of other writers, of a server that is away."""
    calls: list[Call] = field(default_factory=list)
    letters: dict[int, Letter] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    """In the order of time."""
    talks: list[Talk] = field(default_factory=list)


ALONE: Final[frozenset[str]] = frozenset()
"""Troubles of one process after the other on one store: none."""

SHARED: Final = frozenset({"conflict", "store-busy"})
"""Troubles of processes that share a store."""

SERVED: Final = SHARED | {"storage-error", "outcome-unknown"}
"""Troubles of processes whose server goes away."""

REPEATED: Final = ("duplicate-message", "bad-mac", "no-session", "unknown-prekey")
"""Refusals of a letter that was read before."""

Judged = tuple[str, str | None]
"""An invariant's id, and what is wrong; None: it was checked, and held."""


def judge(record: Record, *, pooled: bool = False) -> Iterator[Judged]:
    """All predicates, over one record; `pooled`: its calls were jobs of worker pools."""
    for predicate in (*PREDICATES, sessions_have_one_order) if pooled else PREDICATES:
        yield from predicate(record)


def blame(record: Record, since: int, until: int) -> str:
    """Who lost what was acknowledged at `since` and is gone at `until`: a blow in between (ATM-02), or other writers.

    Without a blow, only another writer can have overwritten it (ATM-04).
    """
    next_blow = bisect_left(record.blows, since, key=lambda blow: blow.at)
    struck = next_blow < len(record.blows) and record.blows[next_blow].at <= until
    return "ATM-02" if struck else "ATM-04"


def halved(record: Record, until: int) -> str:
    """Who left a state that is neither the one before nor the one after: a blow (ATM-01), or other writers (ATM-04)."""
    return "ATM-01" if record.blows and record.blows[0].at <= until else "ATM-04"


# -- what a process may answer -----------------------------------------------------------------------------------------


def calls_end_by_name(record: Record) -> Iterator[Judged]:
    """ATM-05: whatever a store refuses is refused by name. ATM-04: of writers that share a store none waits for ever,
    and who is refused is told why.
    """
    for call in record.calls:
        if call.end is End.FAILED:
            yield "ATM-05", f"{call}: no typed refusal"
        elif call.end is End.HUNG:
            yield "ATM-04", f"{call}: no end in sight"
        elif call.end is End.UNKNOWN and "outcome-unknown" not in record.troubles:
            yield "ATM-05", f"{call}, though nothing failed"
        elif call.end is End.REFUSED and call.code in SERVED:
            id_ = "ATM-04" if call.code in SHARED else "ATM-05"
            yield id_, None if call.code in record.troubles else f"{call}, though nothing was in the way"
        elif call.end is End.REFUSED and call.what not in ("decrypt", "open"):
            met = _met(record, call)
            if met is not None:
                yield blame(record, met.ended, call.began), f"{call}, after {met}"
            elif call.code != "no-session":
                yield halved(record, call.ended), f"{call}, though nothing that it needs can be missing"


def _met(record: Record, call: Call) -> Call | None:
    """The call by which somebody was told that there is a session with the peer."""
    for other in record.calls:
        before = other.end is End.DONE and other.ended < call.began
        if before and other.what in ("establish", "decrypt") and other.peer == call.peer:
            return other
    return None


def store_stays_one(record: Record) -> Iterator[Judged]:
    """ATM-06: the store is never taken for an empty one: each that opens it finds the same device. ATM-01: after a blow
    it opens, and every record verifies.
    """
    first: Call | None = None
    for call in record.calls:
        if call.what == "open" and call.end is End.DONE:
            if first is None:
                first = call
            elif call.identity != first.identity:
                yield (
                    "ATM-06",
                    f"{call.writer} came up as another device than {first.writer}: the store counted as empty",
                )
            else:
                yield "ATM-06", None
                yield "ATM-01", None
        elif call.what == "open" and call.end is End.REFUSED and call.code not in record.troubles:
            yield halved(record, call.ended), f"the store does not open: {call}"
        elif call.look is not None:
            damage = "; ".join(call.look.damage)
            yield halved(record, call.ended), f"{call.writer} found damage: {damage}" if damage else None


# -- what was sent -----------------------------------------------------------------------------------------------------


Given = tuple[Sent, Call]


def counters_count_up(record: Record) -> Iterator[Judged]:
    """CTR-02: on each sending chain no counter is used twice, also by two processes, and across kills; counters rise
    with time; a gap has a lost call that explains it. Which of ATM-02 and ATM-04 a repeat breaks, `blame` says.
    """
    chains: dict[str, list[Given]] = defaultdict(list)
    for call in record.calls:
        for sent in call.sent:
            chains[sent.chain].append((sent, call))
    missing: list[_Missing] = []
    for chain, given in chains.items():
        yield from _repeats(record, chain, given)
        yield from _order(chain, given)
        missing += _missing(chain, given)
    yield from _unexplained(record, missing)


def _repeats(record: Record, chain: str, given: Sequence[Given]) -> Iterator[Judged]:
    users: dict[int, Given] = {}
    for sent, call in given:
        former, earlier = users.setdefault(sent.counter, (sent, call))
        if former.message == sent.message:
            yield "CTR-02", None
            continue
        what = (
            f"counter {sent.counter} of chain {chain[:8]} twice: {earlier.writer} gave it to message {former.message}, "
            f"{call.writer} to message {sent.message}"
        )
        yield "CTR-02", what
        yield blame(record, earlier.ended, call.began), what


def _order(chain: str, given: Sequence[Given]) -> Iterator[Judged]:
    by_end = sorted(given, key=lambda each: each[1].ended)
    done, highest, whose = 0, -1, ""
    for sent, call in sorted(given, key=lambda each: each[1].began):
        while done < len(by_end) and by_end[done][1].ended < call.began:
            if by_end[done][0].counter > highest:
                highest, whose = by_end[done][0].counter, by_end[done][1].writer
            done += 1
        if sent.counter < highest:
            yield (
                "CTR-02",
                f"counter {sent.counter} of chain {chain[:8]} went to message {sent.message} of {call.writer}, after "
                f"{whose} had handed out {highest}",
            )


@dataclass(frozen=True, slots=True)
class _Missing:
    """A counter that nobody was given, and between which calls it went."""

    chain: str
    counter: int
    since: int
    until: int
    peer: str


def _missing(chain: str, given: Sequence[Given]) -> Iterator[_Missing]:
    by_counter = {sent.counter: call for sent, call in given}
    known = sorted(by_counter)
    # A chain begins at 0, with whatever came before its first ciphertext.
    for counter in sorted(set(range(known[-1])).difference(known)):
        above = by_counter[known[bisect_left(known, counter)]]
        place = bisect_left(known, counter) - 1
        since = by_counter[known[place]].began if place >= 0 else 0
        yield _Missing(chain, counter, since, above.ended, above.peer)


def _unexplained(record: Record, missing: Sequence[_Missing]) -> Iterator[Judged]:
    """Each missing counter needs a ciphertext of a lost call of its own that can have taken it: a matching."""
    slots = [
        call for call in record.calls if call.what == "encrypt" and call.end in OPEN_ENDED for _ in range(call.size)
    ]
    fits = [
        [
            number
            for number, call in enumerate(slots)
            if call.peer == gap.peer and call.began <= gap.until and call.ended >= gap.since
        ]
        for gap in missing
    ]
    taken: dict[int, int] = {}
    for number, gap in enumerate(missing):
        if _match(number, fits, taken, set()):
            yield "CTR-02", None
        else:
            yield "CTR-02", f"counter {gap.counter} of chain {gap.chain[:8]} was skipped, and no lost call explains it"


def _match(number: int, fits: Sequence[Sequence[int]], taken: dict[int, int], tried: set[int]) -> bool:
    for slot in fits[number]:
        if slot in tried:
            continue
        tried.add(slot)
        if slot not in taken or _match(taken[slot], fits, taken, tried):
            taken[slot] = number
            return True
    return False


def acknowledged_is_readable(record: Record) -> Iterator[Judged]:
    """ATM-02, ATM-04: a ciphertext that was handed out is readable by the peer: the state behind it is in the store."""
    made = {sent.message: call for call in record.calls for sent in call.sent}
    for reading in record.readings:
        call = made[reading.message]
        id_ = blame(record, 0, reading.at)
        if reading.trouble:
            yield id_, f"message {reading.message} of {call.writer} is not read by {reading.peer}: {reading.trouble}"
        else:
            yield id_, None


# -- what was read -----------------------------------------------------------------------------------------------------


def letters_are_read_once(record: Record) -> Iterator[Judged]:
    """CTR-03: a letter is read once, by one process; who is given it again refuses it, as a duplicate or, once its
    chain or its session is gone, for that. AUT-01: what is read is what was written.
    """
    for number, calls in _attempts(record).items():
        done = [call for call in calls if call.end is End.DONE]
        for call in done:
            gave = call.gave[call.letters.index(number)]
            yield "AUT-01", None if gave == number else f"letter {number} gave another text: {call}"
        for former, later in pairwise(done):
            what = f"letter {number} was read twice: {former}, then {later}"
            yield "CTR-03", what
            yield blame(record, former.ended, later.began), what
        for call in calls:
            if call.end is not End.REFUSED or call.code in record.troubles or len(call.letters) > 1:
                continue
            if any(other.ended < call.began for other in done):
                wrong = f"letter {number} was read by {done[0].writer}; again: {call}; expected {REPEATED[0]}"
                yield "CTR-03", None if call.code in REPEATED else wrong


def _attempts(record: Record) -> dict[int, list[Call]]:
    """By letter: the calls that were to read it, as they ended."""
    found: dict[int, list[Call]] = defaultdict(list)
    for call in sorted(record.calls, key=lambda call: call.ended):
        if call.what == "decrypt":
            for number in call.letters:
                found[number].append(call)
    return found


def no_letter_is_lost(record: Record) -> Iterator[Judged]:
    """ATM-01: a letter that nobody can have read is read when it is delivered, unless its one-time prekey served
    another session; of a batch that was lost, all or none were read. ATM-09: one that counts as read, though nobody was
    told, has its plaintext in the store.
    """
    attempts, served = _attempts(record), _served(record)
    looks, tidied = [call for call in record.calls if call.look is not None], _tidied(record)
    settled: dict[int, bool] = {}
    for number, calls in attempts.items():
        letter = record.letters[number]
        done = [call for call in calls if call.end is End.DONE]
        for call in calls:
            if call.end is not End.REFUSED or call.code in record.troubles:
                continue
            rival = letter.prekey is not None and served.get(letter.prekey, set()) - {letter.session}
            if call.code == "unknown-prekey" and (rival or any(map(_counts_as_read, calls))):
                continue
            # A call that was lost may have read it; but where it did, the session is there, and no prekey is needed.
            if call.code == "unknown-prekey" or not any(_may_be_read(attempts[each], call) for each in call.letters):
                yield halved(record, call.ended), f"letter {number} was never read, yet {call}"
        if done:
            settled[number] = True
            continue
        lost = _open_ended(calls)
        if lost and any(call.end is End.REFUSED and call.code == "duplicate-message" for call in calls):
            settled[number] = False
            # The application deletes a text only after it was there.
            seen = [call.look for call in looks if lost[0].ended <= call.began < tidied.get(number, call.ended)]
            kept = any(look is not None and number in look.stored for look in seen)
            if seen:
                yield "ATM-09", None if kept else f"letter {number} counts as read since {lost[0]}, its text is nowhere"
    for batch in record.calls:
        if batch.what == "decrypt" and batch.end in OPEN_ENDED and len(batch.letters) > 1:
            # A letter that another call may have read says nothing of this one.
            later = {settled[n] for n in batch.letters if n in settled and _open_ended(attempts[n]) == [batch]}
            read = len(later) > 1
            yield "ATM-01", f"of the batch in {batch}, some were read and some were not" if read else None


def _counts_as_read(call: Call) -> bool:
    return call.end is End.DONE or (call.end is End.REFUSED and call.code == "duplicate-message")


def _may_be_read(calls: Sequence[Call], refused: Call) -> bool:
    """Whether another call may have read the letter before `refused` had ended."""
    return any(call.end in (End.DONE, *OPEN_ENDED) and call.began <= refused.ended for call in calls)


def _open_ended(calls: Sequence[Call]) -> list[Call]:
    return [call for call in calls if call.end in OPEN_ENDED]


def _tidied(record: Record) -> dict[int, int]:
    """By letter: since when the application may have deleted its text."""
    found: dict[int, int] = {}
    for call in record.calls:
        if call.what == "tidy" and call.end is not End.REFUSED:
            for number in call.letters:
                found.setdefault(number, call.began)
    return found


def _served(record: Record) -> dict[int, set[str]]:
    """By one-time prekey: the sessions whose letters were read, or may have been."""
    found: dict[int, set[str]] = defaultdict(set)
    for number, calls in _attempts(record).items():
        letter = record.letters[number]
        if letter.prekey is not None and any(call.end in (End.DONE, *OPEN_ENDED) for call in calls):
            found[letter.prekey].add(letter.session)
    return found


def plaintexts_are_with_their_letters(record: Record) -> Iterator[Judged]:
    """ATM-09: the plaintext of each letter that counts as read is in the store, once; of no other."""
    attempts, tidied = _attempts(record), _tidied(record)
    due, wrong = sorted(attempts, key=lambda number: min(call.began for call in attempts[number])), set[int]()
    for look in sorted((call for call in record.calls if call.look is not None), key=lambda call: call.began):
        # What the application deleted stays deleted; and what is wrong is wrong at each look from then on.
        due = [number for number in due if tidied.get(number, look.began) >= look.began and number not in wrong]
        for number in due:
            if min(call.began for call in attempts[number]) > look.ended:
                break
            for id_, trouble in _stored(number, attempts[number], look):
                if trouble is not None:
                    wrong.add(number)
                yield id_, trouble


def _stored(number: int, calls: Sequence[Call], looker: Call) -> Iterator[Judged]:
    before = [call for call in calls if call.ended <= looker.began]
    if looker.look is None or len(before) < sum(call.began < looker.ended for call in calls):
        # Somebody reads it just now.
        return
    count = looker.look.stored.get(number, 0)
    read = [call for call in before if call.end is End.DONE]
    perhaps = any(call.end in OPEN_ENDED for call in before)
    again = next((call for call in calls if call.end is End.DONE and call.began > looker.ended), None)
    if count > 1 or (read and not count):
        yield "ATM-09", f"letter {number}: {(read or before)[0]}; {looker.writer} finds its text {count} times"
    elif count and not read and not perhaps:
        yield "ATM-09", f"letter {number} was not read, and {looker.writer} finds its text"
    elif count and not read and again is not None:
        # What counts as read is not read again.
        yield "ATM-09", f"the text of letter {number} was there for {looker.writer}, yet {again}"
    else:
        yield "ATM-09", None


# -- one order of all calls --------------------------------------------------------------------------------------------


class _Session(NamedTuple):
    """What one process would know of a session: the whole of a sequential specification."""

    chain: str = ""
    """The sending chain; empty: one that nobody was told of yet."""
    due: int = 0
    """The next counter on it."""
    heard: frozenset[str] = frozenset()
    """Ratchet keys of the peer."""
    read: frozenset[int] = frozenset()


def sessions_have_one_order(record: Record) -> Iterator[Judged]:
    """WRK-07: a store behind a pool of workers is linearizable. Some order of all calls of a session, in which none is
    moved to before its beginning or after its end, gives each the answer that it got.

    Among processes that share a store, the predicates above name what breaks more precisely.
    """
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in record.calls:
        calls[call.peer].append(call)
    for peer, its in calls.items():
        letters = [record.letters[number] for call in its if call.what == "decrypt" for number in call.letters]
        sessions = {letter.session for letter in letters}
        met = [call for call in its if call.what == "establish" and call.end is not End.REFUSED]
        # With several sessions, which of them is the current one is a question of its own.
        if not peer or len(sessions) > 1 or len(met) > 1 or any(call.what == "forget" for call in its):
            continue
        if not all(letter.ratchet for letter in letters):
            continue
        steps = [_step(record, call) for call in its if call.what in ("encrypt", "decrypt") and _answered(record, call)]
        try:
            wrong = stuck(steps, _Session()) if steps else None
        except TooMany:
            continue
        if wrong is not None:
            then = "; ".join(wrong.then[:3])
            what = f"no order of the {len(steps)} calls for {peer} explains them; after {wrong.done} of them: {then}"
            yield "WRK-07", what
        elif steps:
            yield "WRK-07", None


def _answered(record: Record, call: Call) -> bool:
    """Whether it says anything of the session: a refusal for other writers, or for want of a session, does not."""
    if call.end is End.REFUSED:
        return call.what == "decrypt" and call.code in REPEATED and call.code not in record.troubles
    return call.end in (End.DONE, *OPEN_ENDED)


def _step(record: Record, call: Call) -> Step[_Session]:
    def encrypt(session: _Session) -> _Session | None:
        chain, due = session.chain, session.due
        for sent in call.sent:
            if sent.chain != (chain or sent.chain) or sent.counter != due:
                return None
            chain, due = sent.chain, due + 1
        # Whoever was told nothing may have used as many counters.
        return session._replace(chain=chain, due=due if call.end is End.DONE else due + call.size)

    def decrypt(session: _Session) -> _Session | None:
        known = all(number in session.read for number in call.letters)
        if call.end is End.REFUSED:
            return session if known else None
        if any(number in session.read for number in call.letters):
            return None
        keys = {record.letters[number].ratchet for number in call.letters} - session.heard
        after = session._replace(heard=session.heard | keys, read=session.read.union(call.letters))
        # A new ratchet key of the peer: what is sent next begins a chain.
        return after._replace(chain="", due=0) if keys else after

    take = encrypt if call.what == "encrypt" else decrypt
    return Step(call.began, call.ended, take, call.end not in OPEN_ENDED, str(call))


# -- prekeys -----------------------------------------------------------------------------------------------------------


def prekeys_serve_once(record: Record) -> Iterator[Judged]:
    """KEY-03: a one-time prekey is handed out once, serves one session, and is gone then. ATM-02, ATM-04: one that was
    handed out is there until it has served.
    """
    handed: dict[int, Call] = {}
    for call in record.calls:
        for id_ in call.prekeys:
            if id_ in handed:
                yield "KEY-03", f"one-time prekey {id_} was handed out by {handed[id_].writer} and by {call.writer}"
            handed.setdefault(id_, call)
    attempts = _attempts(record)
    sessions: dict[int, dict[str, Call]] = defaultdict(dict)
    touched: dict[int, int] = {}
    for number, calls in attempts.items():
        letter = record.letters[number]
        if letter.prekey is None:
            continue
        touched[letter.prekey] = min(touched.get(letter.prekey, calls[0].began), *(call.began for call in calls))
        for call in calls:
            if call.end is End.DONE:
                sessions[letter.prekey].setdefault(letter.session, call)
    for id_, served in sessions.items():
        if len(served) > 1:
            first, second = list(served.values())[:2]
            yield "KEY-03", f"one-time prekey {id_} served two sessions: {first}, then {second}"
        else:
            yield "KEY-03", None
    used = {id_: min(served.values(), key=lambda call: call.ended) for id_, served in sessions.items()}
    due = list(handed)
    for look in sorted((call for call in record.calls if call.look is not None), key=lambda call: call.began):
        there = look.look.prekeys if look.look is not None else frozenset()
        for id_ in sorted(there.intersection(used)):
            if used[id_].ended <= look.began:
                yield "KEY-03", f"one-time prekey {id_} is there for {look.writer}, after {used.pop(id_)}"
        due = [id_ for id_ in due if touched.get(id_, look.ended) >= look.ended]
        for id_ in due:
            if handed[id_].ended <= look.began:
                gone = f"one-time prekey {id_}, handed out by {handed[id_].writer}, not used, is gone for {look.writer}"
                yield blame(record, handed[id_].ended, look.began), None if id_ in there else gone


# -- in the end --------------------------------------------------------------------------------------------------------


def both_sides_talk_in_the_end(record: Record) -> Iterator[Judged]:
    """CTR-08: once everything is delivered and nothing strikes any more, both sides of each session hear each other."""
    for talk in record.talks:
        missing = [way for way, heard in (("hears nothing", talk.out), ("is not heard", talk.back)) if not heard]
        yield "CTR-08", f"in the end {talk.peer} {' and '.join(missing)}: {talk.what}" if missing else None


PREDICATES: Final[tuple[Callable[[Record], Iterator[Judged]], ...]] = (
    calls_end_by_name,
    store_stays_one,
    counters_count_up,
    acknowledged_is_readable,
    letters_are_read_once,
    no_letter_is_lost,
    plaintexts_are_with_their_letters,
    prekeys_serve_once,
    both_sides_talk_in_the_end,
)
"""Those of any store, in the order in which a report names what broke."""
