"""A small symbolic protocol: what each operation must do.

Keys are terms, not bytes (`terms`). The model follows a history event by event (`following`). Before it looks at what
the target did, it says what may happen (`Expect`): accept with this plaintext, or refuse for one of these reasons; then
it follows the target. Where the target did what the model forbids, the model stops: what comes after has no meaning.

Source: X3DH sections 3.3 and 3.4; Double Ratchet section 3; the limits are the target's declared ones.
What an attacker can derive who took a state: `knowledge`.
"""

from pawl_spec.model.expect import Expect, SentHeader
from pawl_spec.model.following import CONFLICTS, Model, expectations
from pawl_spec.model.knowledge import Healed, Knowledge
from pawl_spec.model.terms import LOW, Refusal, Terms

__all__ = [
    "CONFLICTS",
    "LOW",
    "Expect",
    "Healed",
    "Knowledge",
    "Model",
    "Refusal",
    "SentHeader",
    "Terms",
    "expectations",
]
