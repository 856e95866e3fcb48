"""Exhaustive search of the model within small bounds.

The model leads (`ideal`): every operation ends as the model says. From the first state of a scope (`scopes`) all
operations that its bounds allow are carried out in every state, breadth first (`search`), until no new state is left.
States that differ in names alone are one (`canonical`). In each step and state the properties (`properties`) are
checked, which say what must come of the model's rules without using them; the first state that breaks one is reached
by a shortest trace. `faults` breaks the rules one by one, to see that the search notices. `agreement` holds what a
target did against the model.
"""

from pawl_spec.explore.agreement import Agreement
from pawl_spec.explore.faults import FAULTS, Fault
from pawl_spec.explore.figures import committed, counts, differs
from pawl_spec.explore.ideal import Ideal
from pawl_spec.explore.scopes import SCOPES, Scope
from pawl_spec.explore.search import Counterexample, Explored, explore

__all__ = [
    "FAULTS",
    "SCOPES",
    "Agreement",
    "Counterexample",
    "Explored",
    "Fault",
    "Ideal",
    "Scope",
    "committed",
    "counts",
    "differs",
    "explore",
]
