"""A target without cryptography, for tests of the runner: texts travel in the clear, and a script says what goes wrong.

It keeps to the contract of `World` and notes every call. Its messages have the layers of real ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pawl_gate.targets.base import Bundle, Refused, SimulatedCrash, WireMessage
from pawl_gate.wire_view import Layer, inner_data, signal_layer
from pawl_spec.history import Hello, Observation, Observe
from pawl_spec.trace import PARTIES

EVERYTHING = frozenset({"reinstall", "approve", "strict-identity", "restart", "crash", "work", "deterministic"})


def key(number: int) -> bytes:
    """33 bytes that look like a public key."""
    return b"\x05" + bytes([number]) * 32


class FakeWorld:
    """Notes what it is asked, and raises what the script says: `script[verb]` is used up one by one, None is no fault."""

    def __init__(self, script: dict[str, list[BaseException | None]], seed: int) -> None:
        self.script = script
        self.seed = seed
        self.calls: list[tuple[object, ...]] = []
        self.known: set[tuple[int, int]] = set()
        """(a, b): a can send to b."""
        self.heard: set[tuple[int, int]] = set()
        self.read: set[bytes] = set()
        self.counters: dict[tuple[int, int], int] = defaultdict(int)
        self.state: dict[int, int] = defaultdict(int)
        self.prekeys = 0
        self.closed = 0

    def _note(self, verb: str, *args: object) -> None:
        self.calls.append((verb, *args))
        faults = self.script.get(verb)
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault

    def of(self, verb: str) -> list[tuple[object, ...]]:
        """Arguments of all calls of a verb."""
        return [call[1:] for call in self.calls if call[0] == verb]

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        self._note("create", party, name, device_id, trust_on_first_use)
        return key(party)

    def reinstall(self, party: int) -> bytes:
        self._note("reinstall", party)
        self.known = {pair for pair in self.known if pair[0] != party}
        return key(party + 10)

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        self._note("bundle", party, one_time)
        self.prekeys += one_time
        one = (self.prekeys, key(50)) if one_time else (None, None)
        return Bundle(1, 1, key(party), 1, key(20), bytes(64), *one)

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        self._note("establish", party, peer, bundle)
        self.known.add((party, peer))
        self.state[party] += 1

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        self._note("encrypt", party, peer, plaintext)
        if (party, peer) not in self.known:
            raise Refused("no-session", "nothing to encrypt with")
        counter = self.counters[party, peer]
        self.counters[party, peer] += 1
        self.state[party] += 1
        body = [(1, key(30 + party)), (2, counter), (3, 0), (4, plaintext)]
        inner = Layer(0x33, list(body), bytes(8)).data()
        if (party, peer) in self.heard:
            return WireMessage("signal", inner)
        outer = [(1, 7), (2, key(40)), (3, key(party)), (4, inner), (5, 1), (6, 1)]
        return WireMessage("prekey", Layer(0x33, list(outer)).data())

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        self._note("decrypt", party, peer, message)
        if message.data in self.read:
            raise Refused("duplicate-message")
        self.read.add(message.data)
        self.known.add((party, peer))
        self.heard.add((party, peer))
        self.state[party] += 1
        text = signal_layer(inner_data(message)).get(4)
        assert isinstance(text, bytes)
        return text

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        self._note("approve", party, peer, identity_key)

    def restart(self, party: int) -> None:
        self._note("restart", party)

    def arm_crash(self, party: int, at: int) -> None:
        self._note("arm_crash", party, at)

    def disarm_crash(self, party: int) -> bool:
        self._note("disarm_crash", party)
        return False

    def observe(self, party: int) -> Observation:
        self._note("observe", party)
        return Observation(f"{party}.{self.state[party]}")

    def secrets(self, party: int) -> Sequence[bytes]:
        self._note("secrets", party)
        return []

    def complete_digest(self, party: int) -> str | None:
        self._note("complete_digest", party)
        return f"{party}.{self.state[party] + 1}"

    def close(self) -> None:
        self.closed += 1


class FakeTarget:
    """Hands out worlds and remembers them."""

    def __init__(
        self, *, level: Observe = Observe.STATE, can: frozenset[str] = EVERYTHING, **script: list[BaseException | None]
    ) -> None:
        self.hello = Hello("fake", "1", level, can)
        self.script = script
        self.worlds: list[FakeWorld] = []

    @property
    def only(self) -> FakeWorld:
        """The one world that was made."""
        assert len(self.worlds) == 1
        return self.worlds[0]

    def world(self, seed: int) -> FakeWorld:
        self.worlds.append(FakeWorld({verb: list(faults) for verb, faults in self.script.items()}, seed))
        return self.worlds[-1]

    def close(self) -> None:
        """Nothing to release."""


__all__ = ["EVERYTHING", "PARTIES", "FakeTarget", "FakeWorld", "SimulatedCrash", "key"]
