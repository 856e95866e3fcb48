"""Whose key is it: what happens when an identity is seen for the first time.

An identity key is pinned for a name, which all devices of that name share. A pinned identity never changes by itself:
`Device.trust_identity` records the decision to replace it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pawl.crypto.keys import PublicKey
from pawl.errors import InvalidArgument, UntrustedIdentity


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How a first use of an identity is decided.

    `on_first_use(name, key)` decides if it is given: only True approves. Otherwise `trust_on_first_use` decides.
    The callback is called outside any transaction, may call back into the library, and may raise, which refuses.
    Raises: InvalidArgument.
    """

    trust_on_first_use: bool = True
    on_first_use: Callable[[str, PublicKey], bool] | None = None

    def __post_init__(self) -> None:
        if type(self.trust_on_first_use) is not bool:
            raise InvalidArgument("trust_on_first_use is a bool")
        if self.on_first_use is not None and not callable(self.on_first_use):
            raise InvalidArgument("on_first_use is a callable or None")

    @property
    def trusts_unasked(self) -> bool:
        """Whether a first use needs no question."""
        return self.on_first_use is None and self.trust_on_first_use

    def approve(self, name: str, key: PublicKey) -> None:
        """Return if `key` may be pinned for `name`. Raises: UntrustedIdentity, from the callback's own exception."""
        if self.trusts_unasked:
            return
        if self.on_first_use is None:
            raise UntrustedIdentity("the identity is new, and a first use is not trusted")
        try:
            answer = self.on_first_use(name, key)
        except Exception as error:
            raise UntrustedIdentity("the callback for a first use raised") from error
        # Anything but a plain yes is a no.
        if answer is not True:
            raise UntrustedIdentity("the first use of the identity was not approved")
