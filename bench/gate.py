"""How fast the gate runs and judges traces in this process, beside its ceiling: `make bench`.

The ceiling is what the cryptographic primitives alone would allow: their calls during the same traces are counted, the
library's own and those of the attacker's search, and each is timed bare, with arguments that it was called with.
"""

from __future__ import annotations

import hmac
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from pawl.crypto import cbc, kdf, xeddsa
from pawl.crypto.keys import KeyPair, agree
from pawl_gate.collection import rare_collection
from pawl_gate.engines.walk import traces
from pawl_gate.key_search import hmac_under
from pawl_gate.runner import run_trace
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_spec.judge import judge
from pawl_spec.trace import Trace

TRACES = 60
"""Walks that are timed; some 3,000 steps."""

SAMPLES = 50
"""Calls of each primitive whose arguments are kept; each is timed with them."""

search_mac = hmac_under(bytes(32))

PRIMITIVES: tuple[Callable[..., Any], ...] = (
    *(kdf.step_chain, kdf.root_step, kdf.message_keys, kdf.session_secret, kdf.message_mac),
    *(cbc.encrypt, cbc.decrypt, agree, KeyPair.generate, KeyPair.from_private, xeddsa.sign, xeddsa.verify),
    *(hmac.digest, search_mac),
)


def codes() -> dict[CodeType, Callable[..., Any]]:
    """Each primitive by its code; of a class method, the method with its class."""
    return {getattr(each, "__func__", each).__code__: each for each in PRIMITIVES}


@contextmanager
def counted(counts: Counter[CodeType], arguments: dict[CodeType, list[dict[str, Any]]]) -> Iterator[None]:
    """Count the calls of primitives, but for those that another primitive makes."""
    known = codes()

    def look(frame: FrameType, event: str, argument: object) -> None:
        del argument
        code = frame.f_code
        if event != "call" or code not in known:
            return
        above = frame.f_back
        while above is not None and "/crypto/" in above.f_code.co_filename and above.f_code not in known:
            above = above.f_back
        if above is not None and above.f_code in known:
            return
        counts[code] += 1
        if len(arguments.setdefault(code, [])) < SAMPLES:
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            arguments[code].append({name: frame.f_locals[name] for name in names if name != "cls"})

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


def work(chosen: list[Trace]) -> int:
    """Run and judge; how many steps that were."""
    target, steps = InProcessTarget(), 0
    for trace in chosen:
        history = run_trace(target, trace)
        judge(history)
        steps += len(history.events)
    return steps


def bare(primitive: Callable[..., Any], samples: list[dict[str, Any]]) -> float:
    """Seconds of one call."""
    start = time.thread_time()
    for _ in range(20):
        for each in samples:
            primitive(**each)
    return (time.thread_time() - start) / (20 * len(samples))


def measure(rounds: int) -> tuple[float, float]:
    """Steps a second: of the gate, and with nothing but the primitives; the best of some rounds of each."""
    chosen = list(islice(traces(0), TRACES))
    counts: Counter[CodeType] = Counter()
    arguments: dict[CodeType, list[dict[str, Any]]] = {}
    with counted(counts, arguments):
        steps = work(chosen)
    known = codes()
    times, floors = [], []
    for _ in range(rounds):
        # As in `pawl verify`.
        with rare_collection():
            start = time.thread_time()
            work(chosen)
            times.append(time.thread_time() - start)
        floors.append(sum(count * bare(known[code], arguments[code]) for code, count in counts.items()))
    return steps / min(times), steps / min(floors)
