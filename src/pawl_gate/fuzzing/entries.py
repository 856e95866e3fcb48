"""The entry points of the fuzzers: what each reads, which trust boundary it stands at, what it holds an input to.

`fuzz/NAME.py` is the program, `corpus/NAME` its inputs, `fuzz/NAME.dict` its dictionary where it has one. This module
imports nothing of the library: `prepare` does, so that a fuzzer can instrument it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
"""Of a checkout. An installed package has neither programs nor a corpus."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What an input did, for whoever keeps inputs: one and the same at each run."""

    transcript: bytes
    """All that was seen of the run. Two runs of one input have one transcript."""
    reached: frozenset[str]
    """Names of what it reached: an input that reaches something which no other does is worth keeping."""
    checked: frozenset[str]
    """Ids of the invariants that were checked."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an input is taken apart, for shrinking it. `join(*split(data))` is an input that does what `data` does."""

    split: Callable[[bytes], tuple[bytes, list[bytes]]]
    """What always stays (a header, maybe nothing), and the parts that may be left out: operations or fields."""
    join: Callable[[bytes, Sequence[bytes]], bytes]
    simpler: Callable[[bytes], Iterable[bytes]]
    """Simpler forms of a part, the simplest first: its operands made smaller."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An entry point ready to run: the library is imported, its world stands."""

    hold: Callable[[bytes], object]
    """Runs an input, as fast as can be; None: it was too costly to run. Raises: AssertionError (what it is held to is
    broken; the text begins with the id of the invariant), and anything else where the gate itself is at fault."""
    mutate: Callable[[bytes, int, int], bytes]
    """Input, greatest size, seed: a changed input."""
    cross: Callable[[bytes, bytes, int, int], bytes]
    """Two inputs, greatest size, seed: one made of both."""
    run: Callable[[bytes], Ran | None]
    """The same as `hold`, but it tells what it did. Raises what `hold` raises."""
    form: Form
    seeds: Callable[[], Iterable[bytes]]
    """Inputs to begin with, which need no corpus; always the same ones."""

    def started(self, data: bytes, max_size: int, seed: int) -> bytes:
        """`mutate`, where a seed stands in the place of an input of less than two bytes: the one without a corpus."""
        if len(data) < 2:
            seeds = list(self.seeds())
            data = seeds[seed % len(seeds)]
        return self.mutate(data, max_size, seed)[:max_size]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry point."""

    name: str
    """Of its program, its corpus and its dictionary."""
    reads: str
    """What the bytes are."""
    boundaries: tuple[str, ...]
    """Anchors of the threat model's trust boundaries."""
    invariants: tuple[str, ...]
    """Ids of what it holds an input to. Traces are held to all that a trace can judge; here are the ones it is for."""
    maker: str
    """Module and function that make it ready."""
    bound: str
    """What bounds how fast it is."""
    most_bytes: int = 4096
    """Of an input: libFuzzer's -max_len."""
    instruments: tuple[str, ...] = ("pawl",)
    """Packages and modules whose branches the fuzzer sees. Only what is fuzzed: the rest would cost speed alone."""
    needs: str = ""
    """What it needs beside Python, or nothing: then it is left out where that is not there."""

    @property
    def program(self) -> Path:
        """The executable file."""
        return ROOT / "fuzz" / f"{self.name}.py"

    @property
    def corpus(self) -> Path:
        """The folder of its inputs."""
        return ROOT / "corpus" / self.name

    @property
    def dictionary(self) -> Path:
        """A file that need not be there."""
        return ROOT / "fuzz" / f"{self.name}.dict"

    def prepare(self) -> Prepared:
        """Import what it runs, and build its world."""
        module, name = self.maker.split(":")
        made: Prepared = getattr(import_module(module), name)()
        return made


_LIST: Final = (
    Entry(
        "session_trace",
        "operations of applications, network, attacker and disk on sessions of two or three",
        ("boundary-api", "boundary-message", "boundary-store"),
        ("CTR-03", "CTR-05", "PAR-01"),
        "pawl_gate.fuzzing.traces:session_trace",
        "the library and what drives and watches it, three quarters; then judging",
    ),
    Entry(
        "group_trace",
        "operations in groups, a malicious member among them",
        ("boundary-api", "boundary-message", "boundary-store"),
        ("GRP-01", "GRP-02", "GRP-03", "PAR-01"),
        "pawl_gate.fuzzing.traces:group_trace",
        "the specification itself, then signatures",
    ),
    Entry(
        "storage_trace",
        "operations on sessions over a disk that fails",
        ("boundary-store",),
        ("ATM-01", "ATM-02", "ATM-06", "PAR-05"),
        "pawl_gate.fuzzing.traces:storage_trace",
        "stores opened from damaged files, then the specification",
    ),
    Entry(
        "identity_trace",
        "operations on sessions whose identities change and are decided upon",
        ("boundary-api", "boundary-message"),
        ("IDC-01", "IDC-02", "IDC-06", "IDC-10"),
        "pawl_gate.fuzzing.traces:identity_trace",
        "key agreements, then the specification",
    ),
    Entry(
        "signal_message",
        "a SignalMessage",
        ("boundary-message",),
        ("PAR-01", "PAR-02", "PAR-03", "PAR-04"),
        "pawl_gate.fuzzing.codecs:signal_message",
        "the strict scanner under instrumentation, three fifths; then the mutator",
    ),
    Entry(
        "prekey_message",
        "a PreKeySignalMessage",
        ("boundary-message",),
        ("PAR-01", "PAR-02", "PAR-03", "PAR-04"),
        "pawl_gate.fuzzing.codecs:prekey_message",
        "two strict scans under instrumentation, three fifths; then the mutator",
    ),
    Entry(
        "group_message",
        "a SenderKeyMessage, in both layouts",
        ("boundary-message",),
        ("PAR-01", "PAR-02", "PAR-03"),
        "pawl_gate.fuzzing.codecs:group_message",
        "the strict scanner under instrumentation, three fifths; then the mutator",
    ),
    Entry(
        "distribution",
        "a SenderKeyDistributionMessage, in both layouts",
        ("boundary-message",),
        ("PAR-01", "PAR-02", "PAR-03", "PAR-05"),
        "pawl_gate.fuzzing.codecs:distribution",
        "the strict scanner under instrumentation, three fifths; then the mutator",
    ),
    Entry(
        "sealed_message",
        "steps of peers and an attacker who can make MACs, snapshots and restores of the receiver",
        ("boundary-message",),
        ("AUT-01", "CTR-03", "CTR-05", "PAR-01", "PAR-02", "PAR-04"),
        "pawl_gate.fuzzing.sealed:sealed_message",
        "opening the receiver, key derivations; a key agreement where a chain begins",
        most_bytes=1024,
    ),
    Entry(
        "stored_record",
        "a kind, and the bytes of a stored record of that kind",
        ("boundary-store",),
        ("PAR-05", "ATM-06"),
        "pawl_gate.fuzzing.stored:stored_record",
        "the protobuf package, both ways, and the mutator",
    ),
    Entry(
        "sealed_row",
        "a row in its seal, and the place for which it is opened",
        ("boundary-store",),
        ("ATM-06", "ATM-07", "ATM-08", "PAR-05"),
        "pawl_gate.fuzzing.stored:sealed_row",
        "two checksums and the second opinion's",
    ),
    Entry(
        "json_store",
        "a JSON file, or the body of one whose checksum is valid",
        ("boundary-store",),
        ("PAR-05", "ATM-06", "ATM-07"),
        "pawl_gate.fuzzing.stored:json_store",
        "the standard library's JSON parser, and writing it again",
    ),
    Entry(
        "migration",
        "schema and rows of a SQLite store of an earlier release",
        ("boundary-store",),
        ("ATM-06", "ATM-07", "PAR-05"),
        "pawl_gate.fuzzing.stored:migration",
        "two SQLite files, made and migrated with all syncs",
    ),
    Entry(
        "key",
        "what is done with it, and the bytes of keys",
        ("boundary-api", "boundary-message"),
        ("IDC-05", "KEY-06", "PAR-01"),
        "pawl_gate.fuzzing.arithmetic:key",
        "the Montgomery ladder and point multiplication in Python integers",
    ),
    Entry(
        "signature",
        "signer, message, and what an attacker does to the signature",
        ("boundary-api", "boundary-message"),
        ("IDC-03", "PAR-01"),
        "pawl_gate.fuzzing.arithmetic:signature",
        "four point multiplications in Python integers",
    ),
    Entry(
        "fingerprint",
        "a safety number, and the bytes of a scanned code",
        ("boundary-api",),
        ("IDC-07", "PAR-01"),
        "pawl_gate.fuzzing.arithmetic:fingerprint",
        "the digits of two halves, twice",
    ),
    Entry(
        "sealed_group_message",
        "steps of members and an attacker who can sign, snapshots and restores of the receiver",
        ("boundary-message",),
        ("GRP-01", "GRP-02", "GRP-03", "PAR-01", "PAR-02"),
        "pawl_gate.fuzzing.sealed_groups:sealed_group_message",
        "signatures, made and verified",
        most_bytes=1024,
    ),
    Entry(
        "model_trace",
        "operations on sessions, without disturbances",
        ("boundary-api", "boundary-message"),
        ("CNF-01", "CNF-02", "AUT-01", "CTR-03"),
        "pawl_gate.fuzzing.differential:model_trace",
        "the model, then key agreements",
    ),
    Entry(
        "node_trace",
        "operations on sessions between Pawl and node-libsignal",
        ("boundary-message",),
        ("CNF-01", "CNF-02", "CTR-03", "CTR-08"),
        "pawl_gate.fuzzing.differential:node_trace",
        "the other implementation, in its own process",
        needs="node-libsignal",
    ),
    Entry(
        "prekey_bundle",
        "a bundle of a peer, and what an attacker does to it",
        ("boundary-api", "boundary-message"),
        ("IDC-01", "IDC-03", "IDC-05", "PAR-05"),
        "pawl_gate.fuzzing.offered:prekey_bundle",
        "opening the device; where a bundle is good, key agreements",
    ),
    Entry(
        "node_import",
        "a document of a node-libsignal device",
        ("boundary-api",),
        ("ATM-05", "CTR-03", "PAR-01", "PAR-05"),
        "pawl_gate.fuzzing.offered:node_import",
        "the standard library's JSON parser, key pairs",
        most_bytes=16384,
    ),
    Entry(
        "driver_answer",
        "answers of a program under judgement, by verb",
        ("boundary-api",),
        ("PAR-01", "PAR-05"),
        "pawl_gate.fuzzing.answers:driver_answer",
        "the runner, and judging",
        most_bytes=16384,
        instruments=("pawl_gate.targets.driver",),
    ),
    Entry(
        "worker_message",
        "how it is read, and the body of a frame from a worker",
        ("boundary-worker",),
        ("PAR-01", "PAR-05", "WRK-03"),
        "pawl_gate.fuzzing.worker_messages:worker_message",
        "MessagePack and the checks of each value",
    ),
)

ENTRIES: Final = {entry.name: entry for entry in _LIST}
"""By name."""
