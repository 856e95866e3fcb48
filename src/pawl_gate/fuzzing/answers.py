"""The entry point of the driver protocol: answers of a program under judgement, which is not trusted to keep to it.

The program is played by the input: for each request it has answers, by verb. Whatever they are, the gate comes to an
end of its own kind: the program refused, ended, hung, or does not keep to the contract. What comes of it can be
judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NoReturn
from unittest import mock

from pawl_gate.fuzzing import plain
from pawl_gate.fuzzing.broken import Broken
from pawl_gate.fuzzing.entries import Form, Prepared
from pawl_gate.fuzzing.fields import Dice
from pawl_gate.fuzzing.plain import Plain
from pawl_gate.fuzzing.stored import words
from pawl_gate.runner import run_trace
from pawl_gate.targets import driver
from pawl_gate.targets.base import HarnessBroken, TargetCrashed, TargetHung
from pawl_spec.history import Outcome
from pawl_spec.judge import judge
from pawl_spec.trace import Kind, Trace, op

TRACE: Final = Trace(
    (
        op(Kind.ESTABLISH, actor=0, peer=1, one_time=1),
        op(Kind.SEND, actor=0, peer=1),
        op(Kind.CRASH, actor=1, at=3),
        op(Kind.DELIVER, index=0),
        op(Kind.REPLAY, message=0),
        op(Kind.CLOCK, days=1),
        op(Kind.ROTATE, actor=1),
        op(Kind.MAINTAIN, actor=1),
        op(Kind.INSPECT, actor=1),
        op(Kind.RESTART, actor=0),
    )
)
"""Every verb comes up in it, or in what closes it."""


class Played:
    """A program that answers what the input says; its answers are counted off by verb, the last one again and again."""

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self._answers = answers
        self._next: dict[str, int] = {}
        self.alive = True

    def exchange(self, line: bytes) -> bytes:
        """The answer to a request. Raises: TargetCrashed, TargetHung."""
        request = json.loads(line)
        verb, number = request["method"], b"%d" % request["id"]
        several = self._answers.get(verb) or self._answers.get("*") or []
        if not several:
            self.alive = False
            raise TargetCrashed("the program ended")
        at = self._next.get(verb, 0)
        self._next[verb] = at + 1
        answer = several[min(at, len(several) - 1)]
        if answer == b"hang":
            self.alive = False
            raise TargetHung("no answer")
        return answer.replace(b"$", number)

    def broken(self, what: str) -> NoReturn:
        """As of a process."""
        self.alive = False
        raise HarnessBroken(what)

    def kill(self) -> None:
        """As of a process."""
        self.alive = False

    finish = kill


def _lines(data: bytes) -> dict[str, list[bytes]]:
    """Each line: a verb, a tab, an answer, in which $ stands for the number of the request."""
    found: dict[str, list[bytes]] = {}
    for line in data.split(b"\n")[:200]:
        verb, tab, answer = line.partition(b"\t")
        if tab:
            found.setdefault(verb.decode("utf-8", "replace"), []).append(answer)
    return found


def _hold(data: bytes) -> str:
    answers = _lines(data)
    with mock.patch.object(driver, "_Process", return_value=Played(answers)):
        try:
            target = driver.DriverTarget(["played"])
            history = run_trace(target, TRACE)
        except (HarnessBroken, TargetCrashed, TargetHung) as end:
            return f"{type(end).__name__}; {str(end)[:60]}"
        except Exception as error:
            raise Broken("PAR-01", f"the gate: {type(error).__name__}: {error}") from error
    try:
        broken, checked = judge(history)
    except Exception as error:
        raise Broken("PAR-01", f"judging: {type(error).__name__}: {error}") from error
    ended = {f"{event.op.kind.word} {event.outcome.value} {event.code or ''}".rstrip() for event in history.events}
    # A program whose answers are made up breaks what there is; but nothing is judged that was not done.
    if not any(event.outcome is Outcome.DONE for event in history.events) and checked["CTR-04"]:
        raise Broken("PAR-01", "what never was delivered was judged")
    return "; ".join(["judged", *sorted(ended), *sorted(f"broken {one.invariant.id}" for one in broken)])


def _seed() -> list[bytes]:
    key = "05" + sha256(b"key").digest().hex()
    state = {"digest": "d1", "prekeys": [1], "signed_prekeys": [1], "sessions": 1, "chains": 1, "kept_chain": 0}
    seen = {
        "state": {"0": state, "1": {**state, "durable": True, "kept_session": 0}},
        "events": ["session-established"],
    }
    hello = {
        "name": "played",
        "version": "1",
        "protocol": 1,
        "message_versions": [3],
        "level": 2,
        "capabilities": ["restart", "crash", "clock", "rotate", "events", "counts"],
        "limits": {
            **dict.fromkeys(("forward_jump", "kept_per_chain", "kept_per_session", "receiving_chains"), 5),
            "archived_sessions": None,
            "derivations_per_message": 100,
        },
        "profile": {"promotes": "on-new-chain", "closes_chains": False},
    }
    bundle = {
        "registration_id": 1,
        "device_id": 1,
        "identity_key": key,
        "signed_prekey_id": 1,
        "signed_prekey": key,
        "signature": "00" * 64,
        "prekey_id": 1,
        "prekey": key,
    }
    inner = "33" + "0a21" + key + "1000" + "1800" + "2210" + "00" * 16 + "00" * 8
    outer = "33" + "0801" + "1221" + key + "1a21" + key + "22%02x" % (len(inner) // 2) + inner + "2801" + "3001"
    results: dict[str, Any] = {
        "hello": hello,
        "reset": {},
        "create": {"identity_key": key, **seen},
        "bundle": {**bundle, **seen},
        "establish": seen,
        "encrypt": {"kind": "prekey", "data": outer, **seen},
        "decrypt": {"plaintext": b"m0".hex(), **seen},
        "advance": {},
        "rotate": seen,
        "maintain": {"rotated": False, **seen},
        "restart": seen,
        "arm_crash": {},
        "disarm_crash": {"armed": True},
        "observe": state,
        "secrets": {"secrets": ["00" * 32]},
    }

    def answer(result: Any) -> str:
        return json.dumps({"jsonrpc": "2.0", "id": 0, "result": result}, separators=(",", ":"))

    def error(code: int, data: Any) -> str:
        said = {"code": code, "message": "no", "data": data}
        return json.dumps({"jsonrpc": "2.0", "id": 0, "error": said}, separators=(",", ":"))

    lines = [f"{verb}\t{answer(result)}" for verb, result in results.items()]
    lines.append(f"pawl-no-such-verb\t{error(-32601, None)}")
    first = "\n".join(lines).replace('"id":0,"', '"id":$,"')
    crashed = error(-32001, {"complete": "d2"}).replace('"id":0', '"id":$')
    refused = error(-32000, {"refusal": "bad-mac", "state": seen["state"], "events": []}).replace('"id":0', '"id":$')
    second = first.replace("\ndecrypt\t", f"\ndecrypt\t{crashed}\ndecrypt\t{refused}\ndecrypt\t")
    hung = first.replace("\nencrypt\t", "\nencrypt\thang\nencrypt\t")
    return [text.encode() for text in (first, second, hung)]


WORDS: Final = (
    *(b"null", b"true", b"{}", b"[]", b'""', b"-1", b"0", b"4294967296", b"1e400", b'"unknown"', b'"hang"', b"1.5"),
    *(b'"state":{}', b'"state":{"-1":{}}', b'"events":[1]', b'"error":{"code":-32000}', b'"kind":"signal"', b'"00"'),
)


def _line_mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """A line more, less, or elsewhere."""
    dice = Dice(seed)
    lines = data.split(b"\n")
    at, other = dice.below(len(lines)), dice.below(len(lines))
    match dice.below(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            # The answer to another verb.
            lines[at] = lines[at].partition(b"\t")[0] + b"\t" + lines[other].partition(b"\t")[2]
        case _:
            lines[at] = lines[at].partition(b"\t")[0] + b"\thang"
    return b"\n".join(lines)[:max_size]


def _simpler(part: bytes) -> Iterable[bytes]:
    yield from (part[: len(part) // 2], part[:-1])


def _join(rest: bytes, parts: Sequence[bytes]) -> bytes:
    return rest + b"\n".join(parts)


def driver_answer() -> Prepared:
    """Answers of a program under judgement."""
    mutate = plain.mixed(words(WORDS), words(WORDS), _line_mutate, plain.mutate)
    form = Form(lambda data: (b"", data.split(b"\n")), _join, _simpler)
    return Plain(_hold, frozenset({"PAR-01", "PAR-05"}), _seed(), mutate, plain.splice, form).prepared()


__all__ = ["driver_answer"]
