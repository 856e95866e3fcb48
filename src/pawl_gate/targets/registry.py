"""Which targets there are, by name.

Nothing is started or imported before it is asked for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pawl_gate.targets.base import HarnessBroken, Target

CONTROL: Final = "control:"
"""Prefix of the targets that are deliberately broken variants of Pawl."""


class UnknownTarget(LookupError):
    """No target has this name, and it is not the path of a driver. A mistake of the caller: exit code 2."""


class TargetMissing(HarnessBroken):
    """The target is known but not installed here; the text says what to do."""


def find_target(name: str) -> Target:
    """The target called `name`.

    "control:NAME" is a broken variant of Pawl, and a name with a slash in it is the path of a driver program.

    Raises: UnknownTarget, TargetMissing, HarnessBroken.
    """
    if name in TARGETS:
        return TARGETS[name]()
    if name.startswith(CONTROL):
        return _control(name.removeprefix(CONTROL))
    if "/" in name:
        return _program(Path(name))
    known = ", ".join(sorted(TARGETS))
    raise UnknownTarget(f"no target is called {name!r}; known are {known}, or give the path of a driver (./driver)")


def drivers_folder() -> Path:
    """Where the drivers lie: the environment's PAWL_DRIVERS, else `drivers` in the checkout."""
    named = os.environ.get("PAWL_DRIVERS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "drivers"


def _control(name: str) -> Target:
    from pawl_gate.controls import CONTROLS

    if name not in CONTROLS:
        raise UnknownTarget(f"no control is called {name!r}; known are {', '.join(CONTROLS)}")
    return CONTROLS[name].make()


def _pawl() -> Target:
    from pawl_gate.targets.inprocess import InProcessTarget

    return InProcessTarget()


def _pawl_over(store: str) -> Target:
    from pawl_gate.targets.inprocess import InProcessTarget
    from pawl_gate.targets.kept import KEEPERS

    return InProcessTarget(keep=KEEPERS[store], name=f"pawl-{store}")


def _pawl_earlier() -> Target:
    from pawl import GroupLayout
    from pawl_gate.targets.inprocess import InProcessTarget

    return InProcessTarget(name="pawl-earlier", layout=GroupLayout.EARLIER)


SLOW_SECONDS: Final = 60.0
"""For an answer of a peer on which one forged message costs seconds, as it is tried on each of 31 sessions: 60,000
steps of 40 µs (privacyresearch), 775,000 of 10 µs (libsignal-client). The machine may be busy."""


def _node(peer: str, package: str, *arguments: str, program: str = "driver.js", timeout: float | None = None) -> Target:
    """The driver `program` of a peer that is the npm package `package`. Raises: TargetMissing, HarnessBroken."""
    from pawl_gate.targets.driver import TIMEOUT_SECONDS, DriverTarget

    folder = _folder(peer, program)
    node = shutil.which(os.environ.get("PAWL_NODE", "node"))
    if node is None:
        raise TargetMissing(f"{peer}: there is no Node here; install Node 18 or later with npm, then `make setup`")
    if not (folder / "node_modules" / package / "package.json").is_file():
        raise TargetMissing(f"{peer}: its Node packages are not installed; run `make setup`")
    return DriverTarget([node, folder / program, *arguments], timeout=timeout or TIMEOUT_SECONDS)


def _folder(peer: str, driver: str) -> Path:
    """Where the driver of a peer lies. Raises: TargetMissing."""
    folder = drivers_folder() / peer
    if not (folder / driver).is_file():
        raise TargetMissing(
            f"{peer}: there is no driver in {folder}; run in a checkout, or let PAWL_DRIVERS name its `drivers`"
        )
    return folder


def _libsignal_c() -> Target:
    from pawl_gate.targets.driver import DriverTarget

    program = _folder("libsignal-c", "driver.c") / "build" / "driver"
    if not program.is_file():
        raise TargetMissing(
            "libsignal-c: its driver is not built; install a C compiler, libsignal-protocol-c-dev, libssl-dev and "
            "libjansson-dev, then `make setup`"
        )
    return DriverTarget([program])


PYTHON_SECONDS: Final = 30.0
"""How long an answer of a peer in Python may take: what it computes for one message takes up to 4 s of an idle core."""


def _python(peer: str, package: str) -> Target:
    """The driver of a peer that is the Python package `package`. Raises: TargetMissing, HarnessBroken."""
    from pawl_gate.targets.driver import DriverTarget

    folder = _folder(peer, "driver.py")
    python = folder / ".venv" / "bin" / "python"
    if not any((folder / ".venv").glob(f"lib/python*/site-packages/{package}/__init__.py")):
        raise TargetMissing(f"{peer}: its environment is not made; install a C compiler, then `make setup`")
    return DriverTarget([python, folder / "driver.py"], timeout=PYTHON_SECONDS)


def _program(path: Path) -> Target:
    from pawl_gate.targets.driver import DriverTarget

    if not path.is_file():
        raise UnknownTarget(f"there is no driver at {path}")
    if not os.access(path, os.X_OK):
        raise UnknownTarget(f"the driver {path} is not executable")
    return DriverTarget([path.resolve()])


TARGETS: Final[Mapping[str, Callable[[], Target]]] = {
    "pawl": _pawl,
    # The same library, each party's rows in a store that is kept for real.
    "pawl-adapter": partial(_pawl_over, "adapter"),
    "pawl-json": partial(_pawl_over, "json"),
    "pawl-postgres": partial(_pawl_over, "postgres"),
    "pawl-sqlite": partial(_pawl_over, "sqlite"),
    # The same library, with the group messages of older clients.
    "pawl-earlier": _pawl_earlier,
    "node-libsignal": partial(_node, "node-libsignal", "libsignal"),
    "node-libsignal-live": partial(_node, "node-libsignal", "libsignal", "--store", "live"),
    "privacyresearch": partial(
        _node, "privacyresearch", "@privacyresearch/libsignal-protocol-typescript", timeout=SLOW_SECONDS
    ),
    # Sessions that this driver begins and the peer goes on with.
    "libsignal-client-sessions": partial(
        _node,
        "libsignal-client",
        "@signalapp/libsignal-client",
        program="sessions.js",
        timeout=SLOW_SECONDS,
    ),
    # Sessions that begin with a one-time prekey.
    "omemo-dr": partial(_python, "omemo-dr", "omemo_dr"),
    # Sessions, and groups in the earlier layout.
    "python-axolotl": partial(_python, "python-axolotl", "axolotl"),
    # Groups alone.
    "libsignal-client": partial(_node, "libsignal-client", "@signalapp/libsignal-client"),
    # Sessions, and groups with the messages of older clients.
    "libsignal-c": _libsignal_c,
}
"""The targets by name."""

OVER_STORES: Final = frozenset({"pawl-adapter", "pawl-json", "pawl-postgres", "pawl-sqlite"})
"""The same library once more, over another store: it sends the same bytes."""


def implementations() -> list[str]:
    """The targets that speak for themselves, by name: with each other they make the interop matrix."""
    return [name for name in TARGETS if name not in OVER_STORES]
