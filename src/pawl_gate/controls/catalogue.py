"""The catalogue of controls: what each is called, what it breaks, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Edited
from pawl_gate.targets.inprocess import InProcessTarget
from pawl_gate.targets.variant import Variant


@dataclass(frozen=True, slots=True)
class Control:
    """A broken variant and the invariant that must catch it."""

    name: str
    breaks: str
    """Id of the invariant that names the fault."""
    what: str
    """The fault, in one sentence."""
    make: Callable[[], InProcessTarget]
    edits: tuple[Edit, ...] = ()
    """What is changed in the source, where the fault is a slip of a few words."""
    asked_by: str = "control:"
    """Before its name: how it is asked for, as a target or on trial."""

    @property
    def target(self) -> str:
        """How it is asked for."""
        return self.asked_by + self.name


CONTROLS: dict[str, Control] = {}


def control(name: str, breaks: str) -> Callable[[type[Variant]], type[Variant]]:
    """Register a broken variant; its docstring says what is wrong with it."""

    def register(variant: type[Variant]) -> type[Variant]:
        variant.name = f"control:{name}"
        what = " ".join((variant.__doc__ or "").split())
        CONTROLS[name] = Control(name, breaks, what, lambda: InProcessTarget(variant()))
        return variant

    return register


def slip(name: str, breaks: str, what: str, *edits: Edit) -> None:
    """Register a fault that is a slip of a few words in the source."""
    CONTROLS[name] = Control(name, breaks, what, lambda: InProcessTarget(Edited(f"control:{name}", edits)), edits)
