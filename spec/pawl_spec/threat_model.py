"""The threat model, line by line: what each line says, in our words, and which invariants answer it.

The threat model itself lies outside of the project; the lines are in its order. This is the one place where a line is
tied to its invariants: `docs/explanation/threat-model.md` answers the same lines in prose under the same anchors, and
`pawl trace` compares the two. What no invariant can answer (a residual risk, what is out of scope, how it is validated,
what is still to be done) says where it is documented, and which tests show its edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Sort(Enum):
    """What a line of the threat model is."""

    SCOPE = "in scope"
    OUT = "out of scope"
    ASSET = "asset"
    GOAL = "goal"
    BOUNDARY = "trust boundary"
    THREAT = "threat"
    MITIGATION = "mitigation"
    RESIDUAL = "residual risk"
    VALIDATION = "validation"
    ROADMAP = "roadmap"


EDGED: Final = frozenset({Sort.OUT, Sort.RESIDUAL, Sort.VALIDATION, Sort.ROADMAP})
"""What no invariant answers in full: such a line has an edge."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a line is documented, and what shows how far the claims reach."""

    documented: str
    """A page, from the checkout's folder, and a heading or an anchor on it."""
    tests: tuple[str, ...] = ()
    """File and name of each, as pytest names them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the threat model."""

    anchor: str
    """Its id, and its anchor on docs/explanation/threat-model.md."""
    sort: Sort
    words: str
    """What it says, in our words."""
    invariants: tuple[str, ...] = ()
    """Ids of those that answer it."""
    threat: str = ""
    """The threat in whose section it stands, if it stands in one."""
    edge: Edge | None = None


LINES: Final = (
    Line("scope-establishment", Sort.SCOPE, "session establishment", ("IDC-01", "IDC-03", "IDC-05", "KEY-03")),
    Line(
        "scope-ratchet",
        Sort.SCOPE,
        "the ratchet's state transitions",
        ("CTR-01", "CTR-05", "CNF-01", "CNF-02", "AUT-01"),
    ),
    Line("scope-groups", Sort.SCOPE, "group sender keys", ("GRP-01", "GRP-02", "GRP-03", "GRP-04", "GRP-05", "GRP-06")),
    Line(
        "scope-storage",
        Sort.SCOPE,
        "storage adapters and the life of sessions and prekeys",
        ("ATM-01", "ATM-02", "KEY-03", "KEY-07", "BND-02"),
    ),
    Line(
        "scope-workers",
        Sort.SCOPE,
        "the worker-thread interface",
        ("WRK-01", "WRK-02", "WRK-03", "WRK-04", "WRK-05", "WRK-06", "WRK-07"),
    ),
    Line(
        "out-device",
        Sort.OUT,
        "a compromised endpoint",
        ("KEY-01", "KEY-02", "SEC-01"),
        edge=Edge(
            "docs/explanation/a-stolen-device.md#what-this-does-not-say",
            ("tests/spec/test_invariants_secrecy.py::test_a_stolen_one_time_prekey_reads_a_later_session",),
        ),
    ),
    Line(
        "out-runtime",
        Sort.OUT,
        "a compromised kernel or runtime",
        edge=Edge(
            "SECURITY.md#what-is-not-promised",
            (
                "tests/crypto/test_keys.py::test_a_secret_is_in_no_text",
                "tests/test_device.py::test_used_secrets_are_gone",
            ),
        ),
    ),
    Line(
        "out-transport",
        Sort.OUT,
        "guarantees of the transport",
        edge=Edge(
            "docs/explanation/threat-model.md#what-an-attacker-can-do-in-a-trace",
            ("tests/gate/test_engines.py::test_walks_reach_every_operation_and_every_choice",),
        ),
    ),
    Line("asset-identity", Sort.ASSET, "identity private keys", ("KEY-06",)),
    Line("asset-prekeys", Sort.ASSET, "signed and one-time prekeys", ("KEY-03", "KEY-07")),
    Line("asset-session", Sort.ASSET, "session state", ("KEY-01", "KEY-02", "KEY-04", "KEY-05")),
    Line("asset-sender-keys", Sort.ASSET, "sender key state", ("GRP-06",)),
    Line("goal-forward-secrecy", Sort.GOAL, "forward secrecy", ("KEY-01", "KEY-02", "SEC-01")),
    Line("goal-healing", Sort.GOAL, "post-compromise security", ("SEC-02",)),
    Line("goal-identity", Sort.GOAL, "identity continuity", ("IDC-01", "IDC-02", "IDC-06", "IDC-08")),
    Line("goal-replay", Sort.GOAL, "anti-replay, monotonic counters", ("CTR-01", "CTR-02", "CTR-03", "CTR-06")),
    Line("goal-integrity", Sort.GOAL, "integrity of persisted transitions", ("ATM-01", "ATM-02", "ATM-05", "ATM-06")),
    Line("boundary-api", Sort.BOUNDARY, "application to library", ("PAR-01", "IDC-10")),
    Line(
        "boundary-store",
        Sort.BOUNDARY,
        "library to storage adapter",
        ("ATM-06", "ATM-08", "PAR-05", "ATM-07"),
    ),
    Line("boundary-worker", Sort.BOUNDARY, "main thread to worker", ("WRK-03", "WRK-05", "WRK-07")),
    Line(
        "boundary-message",
        Sort.BOUNDARY,
        "serialised message to state in memory",
        ("PAR-01", "PAR-02", "PAR-04", "AUT-01", "CTR-05"),
    ),
    Line(
        "identity-threat",
        Sort.THREAT,
        "the key is substituted during bootstrap",
        ("IDC-01", "IDC-04", "IDC-05", "IDC-06"),
        threat="T-IDENTITY",
    ),
    Line(
        "identity-checks",
        Sort.MITIGATION,
        "trust checks in session builder and cipher",
        ("IDC-01", "IDC-07", "IDC-08"),
        threat="T-IDENTITY",
    ),
    Line("identity-policies", Sort.MITIGATION, "optional strict policies", ("IDC-02", "IDC-10"), threat="T-IDENTITY"),
    Line(
        "identity-signature",
        Sort.MITIGATION,
        "signed prekey verified, fallbacks signalled",
        ("IDC-03", "IDC-09"),
        threat="T-IDENTITY",
    ),
    Line(
        "identity-residual",
        Sort.RESIDUAL,
        "permissive trust on first use",
        ("IDC-02",),
        threat="T-IDENTITY",
        edge=Edge(
            "docs/how-to/choose-an-identity-policy.md#which-one",
            ("tests/test_residual_risks.py::test_a_first_use_that_nobody_verifies_is_believed",),
        ),
    ),
    Line(
        "replay-threat",
        Sort.THREAT,
        "replayed or out-of-window messages",
        ("CTR-03", "CTR-04", "CTR-07"),
        threat="T-REPLAY",
    ),
    Line(
        "replay-counters",
        Sort.MITIGATION,
        "counter checks and rejection",
        ("CTR-01", "CTR-03", "CTR-06"),
        threat="T-REPLAY",
    ),
    Line(
        "replay-deletion",
        Sort.MITIGATION,
        "message keys deleted after use",
        ("KEY-01", "KEY-02", "KEY-05"),
        threat="T-REPLAY",
    ),
    Line(
        "replay-budget", Sort.MITIGATION, "budget of chains and keys", ("BND-01", "BND-02", "BND-03"), threat="T-REPLAY"
    ),
    Line(
        "replay-residual",
        Sort.RESIDUAL,
        "exception handling bypassed",
        ("CTR-05",),
        threat="T-REPLAY",
        edge=Edge(
            "docs/explanation/threat-model.md#replay-residual",
            ("tests/test_residual_risks.py::test_an_application_that_drops_refusals_is_given_nothing",),
        ),
    ),
    Line(
        "desync-threat",
        Sort.THREAT,
        "a crash during the update of session and prekey",
        ("ATM-01", "CTR-02", "CTR-08"),
        threat="T-DESYNC",
    ),
    Line(
        "desync-atomic",
        Sort.MITIGATION,
        "session and prekey stored atomically",
        ("ATM-01", "ATM-02", "ATM-09", "KEY-03"),
        threat="T-DESYNC",
    ),
    Line(
        "desync-guard",
        Sort.MITIGATION,
        "transaction-aware adapters and a strict guard",
        ("ATM-03", "ATM-04"),
        threat="T-DESYNC",
    ),
    Line(
        "desync-sqlite",
        Sort.MITIGATION,
        "SQLite transactions and rollback",
        ("ATM-01", "ATM-05", "ATM-06"),
        threat="T-DESYNC",
    ),
    Line(
        "desync-residual",
        Sort.RESIDUAL,
        "third-party adapters without atomicity",
        ("ATM-03",),
        threat="T-DESYNC",
        edge=Edge(
            "docs/reference/api.md#stores",
            ("tests/test_residual_risks.py::test_a_store_that_is_not_atomic_is_taken",),
        ),
    ),
    Line("worker-threat", Sort.THREAT, "the asynchronous interface is flooded", ("WRK-01",), threat="T-WORKER"),
    Line("worker-limits", Sort.MITIGATION, "limits on pending and queued jobs", ("WRK-01",), threat="T-WORKER"),
    Line("worker-rejection", Sort.MITIGATION, "explicit rejection under pressure", ("WRK-02",), threat="T-WORKER"),
    Line("worker-revival", Sort.MITIGATION, "crashes noticed, workers revived", ("WRK-04",), threat="T-WORKER"),
    Line("worker-events", Sort.MITIGATION, "events on pressure and life cycle", ("WRK-06",), threat="T-WORKER"),
    Line(
        "worker-residual",
        Sort.RESIDUAL,
        "limits set too high",
        ("WRK-01",),
        threat="T-WORKER",
        edge=Edge(
            "docs/explanation/what-a-pool-survives.md#what-it-does-not-show",
            ("tests/test_residual_risks.py::test_limits_that_no_machine_bears_are_kept_to",),
        ),
    ),
    Line("parser-threat", Sort.THREAT, "malformed protobuf", ("PAR-01", "PAR-02", "PAR-04"), threat="T-PARSER"),
    Line(
        "parser-limits",
        Sort.MITIGATION,
        "size limits and field validation",
        ("PAR-02", "PAR-03", "PAR-05"),
        threat="T-PARSER",
    ),
    Line("parser-fuzz", Sort.MITIGATION, "fuzz and property tests", ("PAR-01",), threat="T-PARSER"),
    Line(
        "parser-residual",
        Sort.RESIDUAL,
        "edge cases outside the corpus",
        ("PAR-01",),
        threat="T-PARSER",
        edge=Edge(
            "docs/how-to/read-the-report.md#what-was-reached",
            ("tests/gate/test_page.py::test_what_was_reached_is_there", "tests/gate/test_cli.py::test_too_little_is_4"),
        ),
    ),
    Line(
        "validation-tests",
        Sort.VALIDATION,
        "unit and integration tests",
        edge=Edge(
            "README.md#two-commands",
            (
                "tests/test_device.py::test_conversation",
                "tests/storage/test_contract.py::test_any_exception_rolls_back",
            ),
        ),
    ),
    Line(
        "validation-interop",
        Sort.VALIDATION,
        "interoperability with libsignal-node",
        ("CNF-01",),
        edge=Edge(
            "README.md#judge-another-implementation",
            ("tests/interop/test_node_libsignal.py::test_random_interleavings",),
        ),
    ),
    Line(
        "validation-fuzz",
        Sort.VALIDATION,
        "a dedicated fuzz suite",
        ("PAR-01",),
        edge=Edge(
            "docs/explanation/how-the-pieces-fit.md#from-an-operation-to-a-verdict",
            (
                "tests/fuzz/test_session_trace.py::test_a_short_campaign_ends_well_and_finds_coverage",
                "tests/gate/test_engines.py::test_the_search_finds_a_control",
            ),
        ),
    ),
    Line(
        "validation-ci",
        Sort.VALIDATION,
        "security gates in CI",
        edge=Edge(
            "docs/explanation/threat-model.md#validation-ci",
            (
                "tests/house/test_tree.py::test_ci_script_can_be_run",
                "tests/house/test_tree.py::test_locks_pin_with_hashes",
            ),
        ),
    ),
    Line(
        "roadmap-review",
        Sort.ROADMAP,
        "third-party cryptographic review",
        edge=Edge("README.md#status", ("tests/house/test_site.py::test_evidence_pages_show_code",)),
    ),
    Line(
        "roadmap-fuzzing",
        Sort.ROADMAP,
        "continuous corpus-based fuzzing",
        edge=Edge(
            "docs/explanation/threat-model.md#roadmap-fuzzing",
            ("tests/house/test_corpus.py::test_only_what_reaches_something_new_is_kept",),
        ),
    ),
    Line(
        "roadmap-matrix",
        Sort.ROADMAP,
        "a matrix of runtimes and implementations",
        ("CNF-01",),
        edge=Edge(
            "docs/reference/driver-contract.md",
            ("tests/gate/test_driver.py::test_an_honest_driver_is_driven_through_every_verb",),
        ),
    ),
    Line(
        "roadmap-provenance",
        Sort.ROADMAP,
        "provenance of releases",
        edge=Edge("README.md#status", ("tests/house/test_tree.py::test_locks_pin_with_hashes",)),
    ),
)
"""Every line, in the order of the threat model."""
