"""Two implementations in one world: some parties live in one target, the others in another. For interop traces.

What both do is what the pair does: sessions where both do them, and groups where both do them in one layout. Of each
limit the pair has the smaller one; the profile of each party is that of its own implementation, but that a session
begins with a one-time prekey where one of the two needs it.

Each target also holds a stand-in for every party that lives elsewhere, so that it knows the names of its peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from pawl_gate.targets.base import Bundle, Fingerprint, Target, Unable, WireMessage, World
from pawl_spec.history import Hello, Limits, Observation, Observe
from pawl_spec.trace import PARTIES

GROUP_CAPABILITIES: Final = frozenset({"groups", "group-rotate", "group-forget", "group-members"})

SHARED_CAPABILITIES: Final = frozenset({"reinstall", "approve", "restart", "fingerprint"})
"""What each party does by itself, in sessions or without."""

SEEDS: Final = 1 << 16
"""From the seed of one target's world to that of the next: a trace's seed is below it, and no two draw alike."""


class MixedTarget:
    """`home[party]` is the target in which a party lives. What both can do is what the pair can do."""

    def __init__(self, home: Sequence[Target], *, names: Sequence[str] = PARTIES) -> None:
        self._home = list(home)
        self._names = names
        hellos = [target.hello for target in home]
        self.hello: Hello = replace(
            hellos[0],
            name=" and ".join(sorted({hello.name for hello in hellos})),
            level=Observe.WIRE,
            capabilities=_of_groups(hellos) | SHARED_CAPABILITIES.intersection(*(one.capabilities for one in hellos)),
            limits=smaller([hello.limits for hello in hellos]),
            sessions=all(hello.sessions for hello in hellos),
            profile=replace(hellos[0].profile, needs_one_time=any(one.profile.needs_one_time for one in hellos)),
            profiles=tuple(hello.profile for hello in hellos),
        )

    def world(self, seed: int) -> MixedWorld:
        """A fresh world in each target."""
        targets = {id(target): target for target in self._home}
        worlds = {key: target.world(seed + SEEDS * at) for at, (key, target) in enumerate(targets.items())}
        return MixedWorld([worlds[id(target)] for target in self._home], names=self._names)

    def close(self) -> None:
        """Close both."""
        for target in self._home:
            target.close()


def smaller(limits: Sequence[Limits]) -> Limits:
    """Of each limit the smallest that somebody declares; None where nobody does."""
    least: dict[str, Any] = {}
    for one in fields(Limits):
        declared = [value for each in limits if (value := getattr(each, one.name)) is not None]
        least[one.name] = min(declared, default=None)
    return Limits(**least)


def _of_groups(hellos: Sequence[Hello]) -> frozenset[str]:
    """What all of them can do in groups with each other."""
    if len({hello.group_layout for hello in hellos}) > 1:
        return frozenset()
    return GROUP_CAPABILITIES.intersection(*(hello.capabilities for hello in hellos))


class MixedWorld(Unable):
    """Hands each operation to the world in which its actor lives."""

    def __init__(self, home: Sequence[World], *, names: Sequence[str] = PARTIES) -> None:
        self._home = home
        for world in {id(world): world for world in home}.values():
            for party, name in enumerate(names):
                if home[party] is not world:
                    world.create(party, name=name, device_id=1, trust_on_first_use=True)

    def create(self, party: int, *, name: str, device_id: int, trust_on_first_use: bool) -> bytes:
        """See `World`."""
        return self._home[party].create(party, name=name, device_id=device_id, trust_on_first_use=trust_on_first_use)

    def reinstall(self, party: int) -> bytes:
        """See `World`."""
        return self._home[party].reinstall(party)

    def bundle(self, party: int, *, one_time: bool) -> Bundle:
        """See `World`."""
        return self._home[party].bundle(party, one_time=one_time)

    def establish(self, party: int, peer: int, bundle: Bundle) -> None:
        """See `World`."""
        self._home[party].establish(party, peer, bundle)

    def encrypt(self, party: int, peer: int, plaintext: bytes) -> WireMessage:
        """See `World`."""
        return self._home[party].encrypt(party, peer, plaintext)

    def decrypt(self, party: int, peer: int, message: WireMessage) -> bytes:
        """See `World`."""
        return self._home[party].decrypt(party, peer, message)

    def approve(self, party: int, peer: int, identity_key: bytes) -> None:
        """See `World`."""
        self._home[party].approve(party, peer, identity_key)

    def fingerprint(self, party: int, peer: int, identity_key: bytes) -> Fingerprint:
        """See `World`."""
        return self._home[party].fingerprint(party, peer, identity_key)

    def restart(self, party: int) -> None:
        """See `World`."""
        self._home[party].restart(party)

    def arm_crash(self, party: int, at: int) -> None:
        """See `World`."""
        self._home[party].arm_crash(party, at)

    def disarm_crash(self, party: int) -> bool:
        """See `World`."""
        return self._home[party].disarm_crash(party)

    def observe(self, party: int) -> Observation | None:
        """See `World`."""
        return self._home[party].observe(party)

    def secrets(self, party: int) -> Sequence[bytes]:
        """See `World`."""
        return self._home[party].secrets(party)

    def complete_digest(self, party: int) -> str | None:
        """See `World`."""
        return self._home[party].complete_digest(party)

    def group_create(self, party: int, group: bytes) -> bytes:
        """See `World`."""
        return self._home[party].group_create(party, group)

    def group_join(self, party: int, sender: int, group: bytes, distribution: bytes) -> None:
        """See `World`."""
        self._home[party].group_join(party, sender, group, distribution)

    def group_encrypt(self, party: int, group: bytes, plaintext: bytes) -> bytes:
        """See `World`."""
        return self._home[party].group_encrypt(party, group, plaintext)

    def group_decrypt(self, party: int, sender: int, group: bytes, message: bytes) -> bytes:
        """See `World`."""
        return self._home[party].group_decrypt(party, sender, group, message)

    def group_rotate(self, party: int, group: bytes) -> None:
        """See `World`."""
        self._home[party].group_rotate(party, group)

    def group_members(self, party: int, group: bytes, members: Sequence[int]) -> None:
        """See `World`."""
        self._home[party].group_members(party, group, members)

    def group_forget(self, party: int, peer: int, group: bytes) -> None:
        """See `World`."""
        self._home[party].group_forget(party, peer, group)

    def close(self) -> None:
        """End both worlds."""
        for world in {id(world): world for world in self._home}.values():
            world.close()
