"""Whose key is it: what happens when an identity is seen for the first time, or is not the pinned one.

An identity key is pinned for a name, which all devices of that name share. It changes only by a decision: the
application's answer to a mismatch, or `Device.trust_identity`.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, UntrustedIdentity

CALLBACK_SECONDS: Final = 10.0
"""Seconds that a question may take, unless the policy says otherwise: a receiving loop must not hang on one."""


class Decision(Enum):
    """What to do about an identity that is not the pinned one."""

    REJECT = "reject"
    """Refuse; the pinned identity stays."""
    REPLACE = "replace"
    """Pin the new identity instead. Sessions under the old one are retired."""


FirstUse: TypeAlias = Callable[[str, PublicKey], bool]
"""Asked with the peer's name and its key; True approves."""

Mismatch: TypeAlias = Callable[[str, PublicKey, PublicKey], Decision]
"""Asked with the peer's name, the pinned key and the new one."""


class CallbackTrouble(UntrustedIdentity):
    """A question was not answered, so that the identity is refused."""

    def __init__(self, callback: str, why: str) -> None:
        super().__init__(f"the identity is refused: {callback} {why}")
        self.callback = callback
        self.why = why
        """"raised", "timed-out" or "bad-answer"."""


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How identities are decided about.

    * A first use: `on_first_use(name, key)` decides if it is given, only True approves; otherwise `trust_on_first_use`.
    * A mismatch: `on_mismatch(name, pinned, key)` decides if it is given; otherwise the new identity is refused.

    Both are called outside any transaction, in a thread of their own with a copy of the caller's context, and may call
    back into the library. Raising, another answer, or none within `callback_seconds` refuses (IDC-10). With
    `callback_seconds` None they are called in the caller's thread, without a limit. An answer counts only for the keys
    it was given for. A received identity is asked about only after the message that carries it is authenticated.

    Raises: InvalidArgument.
    """

    trust_on_first_use: bool = True
    on_first_use: FirstUse | None = None
    on_mismatch: Mismatch | None = None
    callback_seconds: float | None = CALLBACK_SECONDS

    def __post_init__(self) -> None:
        if type(self.trust_on_first_use) is not bool:
            raise InvalidArgument("trust_on_first_use is a bool")
        for callback in (self.on_first_use, self.on_mismatch):
            if callback is not None and not callable(callback):
                raise InvalidArgument("on_first_use and on_mismatch are callables or None")
        seconds = self.callback_seconds
        if seconds is not None and (type(seconds) not in (int, float) or not 0 < seconds < threading.TIMEOUT_MAX):
            raise InvalidArgument("callback_seconds is a positive number of seconds, or None")

    @property
    def trusts_unasked(self) -> bool:
        """Whether a first use needs no question."""
        return self.on_first_use is None and self.trust_on_first_use

    def decide(self, name: str, pinned: PublicKey | None, key: PublicKey) -> None:
        """Return if `key` may be pinned for `name` in the place of `pinned` (None: nothing is pinned yet).

        Raises: UntrustedIdentity; CallbackTrouble, from the callback's own exception if it raised.
        """
        if pinned is None:
            self._decide_first_use(name, key)
        else:
            self._decide_mismatch(name, pinned, key)

    def _decide_first_use(self, name: str, key: PublicKey) -> None:
        if self.trusts_unasked:
            return
        # Nobody was asked, so nothing is pinned and no session comes into being (IDC-02).
        if self.on_first_use is None:
            raise UntrustedIdentity("the identity is new, and a first use is not trusted")
        answer = _ask("on_first_use", self.on_first_use, (name, key), self.callback_seconds)
        # Anything but a plain yes is a no (IDC-02).
        if answer is not True:
            raise _declined("on_first_use", answer is False)

    def _decide_mismatch(self, name: str, pinned: PublicKey, key: PublicKey) -> None:
        # Nobody was asked, so the pinned identity stays (IDC-01).
        if self.on_mismatch is None:
            raise UntrustedIdentity("the identity is not the pinned one")
        answer = _ask("on_mismatch", self.on_mismatch, (name, pinned, key), self.callback_seconds)
        if answer is not Decision.REPLACE:
            raise _declined("on_mismatch", answer is Decision.REJECT)


def _declined(callback: str, plain_no: bool) -> UntrustedIdentity:
    return (
        UntrustedIdentity(f"{callback} did not approve the identity")
        if plain_no
        else CallbackTrouble(callback, "bad-answer")
    )


def _ask(what: str, callback: Callable[..., object], arguments: tuple[object, ...], seconds: float | None) -> object:
    """What `callback` answers. Raises: CallbackTrouble; whatever is no `Exception` goes through as it is."""
    outcome: list[tuple[object, BaseException | None]] = []

    def call() -> None:
        try:
            outcome.append((callback(*arguments), None))
        except BaseException as error:  # handed on below, in the caller's thread
            outcome.append((None, error))

    if seconds is None:
        call()
    else:
        # A thread that never ends must not keep the program from ending.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name=f"pawl {what}", daemon=True)
        thread.start()
        thread.join(seconds)
    if not outcome:
        raise CallbackTrouble(what, "timed-out")
    answer, error = outcome[0]
    if isinstance(error, Exception):
        raise CallbackTrouble(what, "raised") from error
    if error is not None:
        raise error
    return answer
