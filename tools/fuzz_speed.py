"""Measure executions a second of the fuzzers' entry points, on one core, instrumented, and say what bounds them.

    python -m tools.fuzz_speed [ENTRY ...] [--seconds 10] [--json]

Each entry point fuzzes from its own corpus, one after the other. Executions are counted per second of the process' own
CPU time, so that a busy machine does not count; what the start takes, reading the corpus included, is taken off.
Session traces are measured once more: of 20 operations, in an established world, beside the ceiling that the library's
primitives set. That is how many traces a second there would be if nothing but their calls took time.
"""

from __future__ import annotations

import argparse
import hmac
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import nacl.bindings
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pawl_gate.fuzzing.entries import ENTRIES, Entry
from pawl_spec.trace import Trace, encode

OPERATIONS = 20
"""Of a trace that is measured."""


def spent(entry: Entry, *options: str) -> tuple[float, str]:
    """CPU seconds of one run of a program, and what it said."""
    before = getrusage(RUSAGE_CHILDREN)
    command = [sys.executable, str(entry.program), *options]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stderr


def measured(entry: Entry, seconds: int) -> dict[str, Any]:
    """One entry point."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(shutil.copytree(entry.corpus, Path(folder) / "corpus"))
        begun = time.monotonic()
        start, _ = spent(entry, "-runs=0", str(inputs))
        # The start is a part of the time that libFuzzer counts.
        wall = round(time.monotonic() - begun) + seconds
        cpu, said = spent(entry, f"-max_total_time={wall}", "-seed=1", "-print_final_stats=1", str(inputs))
    runs = re.search(r"^Done (\d+) runs", said, re.MULTILINE)
    if runs is None:
        return {"entry": entry.name, "failed": said[-300:]}
    # Those of the corpus itself are in the start.
    count = max(int(runs[1]) - len(list(entry.corpus.iterdir())), 1)
    return {"entry": entry.name, "runs": count, "a_second": round(count / max(cpu - start, 0.01)), "bound": entry.bound}


def traces(seconds: int) -> dict[str, Any]:
    """Session traces of 20 operations: messages in and out of order, repeats, changed copies; not instrumented."""
    from pawl_gate.engines.walk import Walk
    from pawl_gate.fuzzing.traces import MET, TALK, scenes, session_trace

    source, prepared = scenes(*TALK, *TALK, Walk.replay, Walk.tamper, Walk.twice, Walk.drop), session_trace()
    rng = Random(1)  # noqa: S311 - a seeded walk is not a secret
    inputs = []
    for _ in range(200):
        ops = tuple(source(rng)) + tuple(source(rng))
        inputs.append(encode(Trace((*MET, *ops[:OPERATIONS]))))
    runs, taken = 0, 0.0
    alone: dict[str, list[float]] = {}
    while taken < seconds:
        begun = time.process_time()
        for _ in range(TURN):
            prepared.hold(inputs[runs % len(inputs)])
            runs += 1
        taken += time.process_time() - begun
        # In turns with the traces: what else the machine does then slows both.
        for name, primitive in PRIMITIVES.items():
            alone.setdefault(name, []).append(timed(primitive))
    calls = counted(lambda: [prepared.hold(each) for each in inputs])
    least = sum(calls[name] / len(inputs) * statistics.median(alone[name]) for name in PRIMITIVES)
    return {
        "entry": "session_trace, 20 operations",
        "runs": runs,
        "a_second": round(runs / taken),
        "ceiling": round(1 / least),
        "calls": {name: round(calls[name] / len(inputs), 1) for name in PRIMITIVES},
        "bound": f"of {1 / least:,.0f} that the primitives alone would let through: {runs / taken * least:.0%}",
    }


TURN = 10
"""Traces between two looks at what the primitives take."""

_KEY, _BLOCK = bytes(range(32)), bytes(16)


def _hmac(key: bytes) -> bytes:
    """As a chain step makes two of."""
    code = HMAC(key, SHA256())
    code.update(b"\x01")
    return code.finalize()


PRIMITIVES: dict[str, Callable[[], object]] = {
    "crypto_scalarmult": lambda: nacl.bindings.crypto_scalarmult(_KEY, b"\x09" + bytes(31)),
    "crypto_scalarmult_base": lambda: nacl.bindings.crypto_scalarmult_base(_KEY),
    "hmac_digest": lambda: hmac.digest(_KEY, b"\x01", "sha256"),
    "finalize": lambda: _hmac(_KEY),
    "derive": lambda: HKDF(SHA256(), 80, bytes(32), b"text").derive(_KEY),
    "create_encryption_ctx": lambda: Cipher(AES(_KEY), CBC(_BLOCK)).encryptor().update(_BLOCK),
    "create_decryption_ctx": lambda: Cipher(AES(_KEY), CBC(_BLOCK)).decryptor().update(_BLOCK),
}
"""The library's primitives, by the name of the function in C that a call of one comes to, as the library calls them:
two of Curve25519, HMAC in two ways, HKDF, AES either way."""


def timed(primitive: Callable[[], object], times: int = 20) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    for _ in range(times):
        primitive()
    return (time.process_time() - begun) / times


def counted(call: Callable[[], object]) -> Counter[str]:
    """How often each primitive is called, by whoever it is: the library, and the attacker who searches for keys."""
    calls: Counter[str] = Counter()

    def look(frame: object, event: str, what: Any) -> None:
        del frame
        if event == "c_call" and what.__name__ in PRIMITIVES:
            calls[what.__name__] += 1

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="*", help="entry points; none: all")
    parser.add_argument("--seconds", type=int, default=10, help="of each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.name:
        if name not in ENTRIES:
            parser.error(f"there is no entry point {name}; there are {', '.join(ENTRIES)}")
    found = []
    for name in arguments.name or ENTRIES:
        found.append(measured(ENTRIES[name], arguments.seconds))
        if name == "session_trace":
            found.append(traces(arguments.seconds))
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        if "failed" in one:
            print(f"{one['entry']:30} failed: {one['failed']}")
        else:
            print(f"{one['entry']:30} {one['a_second']:>8,}/s  {one['bound']}")
    return 1 if any("failed" in one for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
