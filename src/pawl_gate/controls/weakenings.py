"""Faults in the specification: a predicate that sees less than it should. Each must let a planted fault through.

A predicate that can be weakened without any fault of the catalogue getting past it is not tested by the catalogue. Each
judged invariant is also left out altogether; some fault must then be seen by no other. Where that is not so, the reason
is written down here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pawl_gate.controls.edits import Edit
from pawl_spec import registry
from pawl_spec.invariants import (
    atomicity,
    authenticity,
    bounds,
    common,
    counters,
    groups,
    identity,
    keys,
    media,
    parsing,
    secrecy,
)


@dataclass(frozen=True, slots=True)
class Weakening:
    """One predicate that sees less."""

    name: str
    invariant: str
    """Id of the invariant that no longer sees some fault."""
    what: str
    """What it does not look at, in one sentence."""
    edits: tuple[Edit, ...]


WEAKENINGS: Final[dict[str, Weakening]] = {}


def _weaken(name: str, invariant: str, what: str, *edits: Edit) -> None:
    WEAKENINGS[name] = Weakening(name, invariant, what, edits)


# -- what several families share --------------------------------------------------------------------------------------

_weaken(
    "acceptance-not-judged",
    "IDC-03",
    "Whether something was accepted that must be refused.",
    Edit(common.disagreement, "if expect.accept is False:", "if False:"),
)
_weaken(
    "refusal-not-judged",
    "CTR-04",
    "Whether something was refused that must be accepted.",
    Edit(
        common.disagreement,
        'return Violation(event, f"refused ({event.code}); expected to be accepted")',
        "return None",
    ),
)
_weaken(
    "reason-not-compared",
    "AUT-01",
    "The reason of a refusal.",
    Edit(common.disagreement, 'if event.code != "unknown" and event.code not in expect.codes:', "if False:"),
)
_weaken(
    "lockout-not-named",
    "IDC-06",
    "Whether a right identity was refused.",
    Edit(registry.stakes, 'event.code == "untrusted-identity"', "False"),
)

# -- counters ---------------------------------------------------------------------------------------------------------

_weaken(
    "repeats-not-counted",
    "CTR-01",
    "Whether a counter was used before.",
    Edit(counters._counters, "if counter < due[chain]:", "if counter < 0:"),
)
_weaken(
    "gaps-not-counted",
    "CTR-01",
    "Whether a counter is left out.",
    Edit(counters._counters, "elif counter - due[chain] > explained[chain]:", "elif False:"),
)
_weaken(
    "restart-not-seen",
    "CTR-02",
    "What comes after a restart that was no crash.",
    Edit(counters._counters, "event.op.kind is Kind.RESTART or ", ""),
)
_weaken(
    "closing-part-not-judged",
    "CTR-08",
    "The closing part, in which everything is delivered.",
    Edit(counters.both_sides_can_talk_in_the_end, "start = story.history.closing", "start = None"),
)

# -- identity ---------------------------------------------------------------------------------------------------------

_weaken(
    "question-not-demanded",
    "IDC-02",
    "Whether the application was asked.",
    Edit(identity.first_use_needs_approval, "if expect.question is not None and", "if False and"),
)
_weaken(
    "early-question-allowed",
    "IDC-06",
    "Whether the user was asked about what nothing authenticates.",
    Edit(
        identity.only_authenticated_identities_are_pinned,
        "if event.asked and expect.question is None:",
        "if False:",
    ),
)
_weaken(
    "name-not-compared",
    "IDC-07",
    "The name in a question.",
    Edit(identity.questions_name_the_peer, "if question.name != name:", "if False:"),
)
_weaken(
    "key-not-compared",
    "IDC-07",
    "The key in a question.",
    Edit(identity.questions_name_the_peer, "elif question.key != event.claimed:", "elif False:"),
)
_weaken(
    "replacement-event-not-demanded",
    "IDC-08",
    "Whether an event says that an identity was replaced.",
    Edit(
        identity.replaced_identity_retires_its_sessions,
        'if "events" in story.history.target.capabilities:',
        "if False:",
    ),
)
_weaken(
    "fallback-event-not-demanded",
    "IDC-09",
    "Whether an event says that a fallback was used.",
    Edit(identity.fallbacks_are_chosen, 'if "events" in hello.capabilities:', "if False:"),
)
_weaken(
    "callback-kept-out",
    "IDC-10",
    "Whether a callback that calls back into the library is let in.",
    Edit(identity.callbacks_leave_the_state_whole, "any(map(_kept_out, event.struck))", "False"),
)
_weaken(
    "callback-ends-the-operation",
    "IDC-10",
    "Whether the operation outlives its callback.",
    Edit(identity.callbacks_leave_the_state_whole, "if event.outcome in (Outcome.DIED, Outcome.HUNG):", "if False:"),
)

# -- keys and secrecy -------------------------------------------------------------------------------------------------

_weaken(
    "used-prekey-not-looked-for",
    "KEY-03",
    "Whether a used one-time prekey is still there.",
    Edit(keys.one_time_prekeys_serve_once, " if left else None", " if False else None"),
)
_weaken(
    "signed-prekeys-not-counted",
    "KEY-07",
    "How many signed prekeys are held after maintenance.",
    Edit(keys.signed_prekeys_have_their_time, "if count > most else None", "if False else None"),
)
_weaken(
    "read-too-much",
    "SEC-01",
    "Whether the attacker reads more than the model says.",
    Edit(secrecy._difference, "if read - due:", "if False:"),
)
_weaken(
    "read-too-much-later",
    "SEC-02",
    "The same, of messages sent after a state was taken.",
    Edit(secrecy._difference, "if read - due:", "if False:"),
)
_weaken(
    "read-too-little",
    "SEC-01",
    "Whether the attacker reads less than the model says.",
    Edit(secrecy._difference, "if due - read:", "if False:"),
)

# -- bounds -----------------------------------------------------------------------------------------------------------

_weaken(
    "twice-the-work",
    "BND-01",
    "Work up to twice of what is stated.",
    Edit(bounds.work_per_message_is_bounded, "if work > most else", "if work > 2 * most else"),
)
for _what, _line in (
    ("keys kept in one chain", "seen.kept_chain, limits.kept_per_chain, CATALOGUE.kept_per_chain"),
    ("keys kept in one session", "seen.kept_session, limits.kept_per_session, CATALOGUE.kept_per_session"),
    ("archived sessions", "seen.sessions, limits.archived_sessions, CATALOGUE.archived_sessions"),
):
    _weaken(
        f"{_what.replace(' ', '-')}-not-counted",
        "BND-02",
        f"How many {_what} there are.",
        Edit(bounds.kept_state_is_bounded, f'("{_what}", {_line}),', ""),
    )
_weaken(
    "rows-not-counted",
    "BND-03",
    "How many rows a message touches.",
    Edit(bounds.work_does_not_grow, '("rows", seen.rows, limits.rows_per_message),', ""),
)
_weaken(
    "bytes-not-counted",
    "BND-03",
    "How many bytes a message writes.",
    Edit(bounds.work_does_not_grow, '("bytes written", seen.written, limits.bytes_per_message),', ""),
)

# -- atomicity, conformance, parsing ----------------------------------------------------------------------------------

_weaken(
    "ciphertexts-not-looked-at",
    "ATM-02",
    "Whether a ciphertext is handed out before its state is durable.",
    Edit(
        atomicity.results_are_durable_first,
        "gives = event.op.kind in (Kind.SEND, Kind.BURST) or event.plaintext is not None",
        "gives = event.plaintext is not None",
    ),
)
_weaken(
    "kind-not-compared",
    "CNF-01",
    "Whether a message still carries what the peer needs to build the session.",
    Edit(authenticity.messages_say_what_the_protocol_says, "if header.kind != due.kind:", "if False:"),
)
_weaken(
    "previous-counter-not-compared",
    "CNF-01",
    "The previous counter.",
    Edit(
        authenticity.messages_say_what_the_protocol_says,
        "elif header.previous_counter != due.previous_counter:",
        "elif False:",
    ),
)
_weaken(
    "prekey-id-not-compared",
    "CNF-01",
    "Which one-time prekey a first message names.",
    Edit(
        authenticity.messages_say_what_the_protocol_says,
        "elif due.prekey_id != header.prekey_id and due.prekey_id != -1:",
        "elif False:",
    ),
)
_weaken(
    "death-not-judged",
    "PAR-01",
    "Whether the target died.",
    Edit(parsing.bytes_are_accepted_or_refused, "if event.outcome in (Outcome.DIED, Outcome.HUNG):", "if False:"),
)
_weaken(
    "form-not-judged",
    "PAR-02",
    "Whether what is written is canonical.",
    Edit(parsing.encodings_are_strict, "if event.canonical is not None:", "if False:"),
)
_weaken(
    "memory-not-measured",
    "PAR-03",
    "How much memory a message takes.",
    Edit(parsing.limits_hold_before_allocation, "if taken is not None:", "if False:"),
)
_weaken(
    "damage-may-be-read",
    "PAR-05",
    "Whether a damaged record was read as a whole one.",
    Edit(parsing.records_and_bundles_are_strict, "elif trial.outcome is not Outcome.REFUSED:", "elif False:"),
    Edit(
        parsing.records_and_bundles_are_strict,
        'elif trial.code not in ("corrupt-store", "unknown"):',
        'elif trial.outcome is Outcome.REFUSED and trial.code not in ("corrupt-store", "unknown"):',
    ),
    Edit(parsing.records_and_bundles_are_strict, "elif not trial.kept:", "elif trial.code and not trial.kept:"),
)
_weaken(
    "damage-by-any-name",
    "PAR-05",
    "By which code a damaged record is refused.",
    Edit(parsing.records_and_bundles_are_strict, 'elif trial.code not in ("corrupt-store", "unknown"):', "elif False:"),
)
_weaken(
    "damage-may-be-overwritten",
    "PAR-05",
    "Whether a damaged record stays as it is.",
    Edit(parsing.records_and_bundles_are_strict, "elif not trial.kept:", "elif False:"),
)

_weaken(
    "medium-by-any-name",
    "ATM-07",
    "By which code a store is refused as its medium gives it back.",
    Edit(media.refused, 'elif trial.code not in (due[trial.how], "unknown"):', "elif False:"),
)
_weaken(
    "medium-may-be-overwritten",
    "ATM-06",
    "Whether a medium stays as it is.",
    Edit(media.refused, "elif not trial.kept:", "elif False:"),
)
_weaken(
    "state-on-a-medium-not-compared",
    "ATM-03",
    "Which state an operation leaves on another medium.",
    Edit(media.works, "elif event.after is not None and trial.digest != event.after.digest:", "elif False:"),
)
_weaken(
    "end-on-a-medium-not-compared",
    "ATM-07",
    "How an operation ends on another medium.",
    Edit(media.works, "if (trial.outcome, trial.code) != (event.outcome, event.code):", "if False:"),
)
_weaken(
    "uses-need-not-be-said",
    "ATM-03",
    "Whether each use of an adapter without transactions is said.",
    Edit(media.no_transactions_no_store, "and trial.said != trial.transactions", "and False"),
)

_weaken(
    "what-is-left-not-counted",
    "KEY-05",
    "Whether a deleted secret is still in a file.",
    Edit(keys.deleted_secrets_leave_the_disk, "elif found.left:", "elif False:"),
)
_weaken(
    "copies-not-counted",
    "KEY-05",
    "Whether a secret has a copy that its deletion will leave.",
    Edit(keys.deleted_secrets_leave_the_disk, "elif found.copies:", "elif False:"),
)
_weaken(
    "blind-search-believed",
    "KEY-05",
    "Whether the search for deleted secrets sees those that are there.",
    Edit(keys.deleted_secrets_leave_the_disk, "if found.seen < found.held:", "if False:"),
)

NAMES: Final = "Other invariants see each of its faults too, by what comes of them: this one says what is wrong."

# -- groups -----------------------------------------------------------------------------------------------------------

_weaken(
    "group-iterations-not-compared",
    "GRP-01",
    "Whether an iteration of a chain was used before.",
    Edit(groups._counted, "if sent.iteration < due[chain]:", "if False:"),
    Edit(groups._as_the_model_counts, "elif header.iteration != expect.iteration:", "elif False:"),
)
_weaken(
    "group-work-before-the-signature-not-counted",
    "GRP-02",
    "What was derived for a message whose signature does not hold.",
    Edit(groups.messages_are_signed, "if expect.derives == 0 and work is not None", "if False and work is not None"),
)
_weaken(
    "group-attacker-reads-not-compared",
    "GRP-04",
    "What the attacker reads in groups with a state that it took.",
    Edit(groups._difference, "if read - due:", "if False:"),
)
_weaken(
    "group-chains-not-searched",
    "GRP-06",
    "Which messages the chains and kept keys of a party still read.",
    Edit(groups._sealed, "if readable is None or expect.group_reads is None:", "if True:"),
)
_weaken(
    "group-bounds-not-compared",
    "GRP-06",
    "How many chains and keys are held.",
    Edit(groups._bounded, "if seen is None or event.op.kind not in CHANGING:", "if True:"),
)
NOT_NEEDED: Final[dict[str, str]] = {
    "blind-search-believed": "It holds the gate's search to what is there, not the library (tests/gate/test_deletion).",
    "damage-may-be-read": "Whoever reads what is damaged then refuses for another reason, which is compared.",
    "end-on-a-medium-not-compared": "What ends otherwise leaves another state, which is compared.",
    "group-chains-not-searched": "Whoever takes the whole state reads the same with it, which is compared.",
    "form-not-judged": "A field too many changes what becomes of changed copies, which the model notices.",
    "kind-not-compared": "The one-time prekey's id in the header gives the same faults away.",
    "question-not-demanded": "Where the answer would be no, something is accepted that must be refused.",
    "read-too-little": "It holds the gate's attacker to the model, not the library (test_invariants_secrecy).",
    "restart-not-seen": "A crash is a restart too, and shows the same fault.",
    **dict.fromkeys(
        (
            *("without ATM-01", "without ATM-02", "without ATM-04", "without ATM-05"),
            *("without BND-02", "without CTR-01", "without CTR-02", "without CTR-03", "without CTR-05"),
            *("without CNF-02", "without CTR-06", "without CTR-07", "without CTR-08", "without IDC-01"),
            *("without KEY-01", "without KEY-02", "without KEY-03", "without KEY-06"),
        ),
        NAMES,
    ),
}
"""Weakenings, and invariants left out, that let no fault of the catalogue through: why they are there all the same."""
