"""The application around a device: its callbacks, which may misbehave once, and what it heard.

What a callback does by itself, without being told to misbehave, is what the policy would do without it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from pawl import ApplicationRows, Decision, Event, IdentityPolicy, ProtocolAddress, ProtocolError, PublicKey, identity
from pawl.application import StorePlaintext
from pawl.identity import CALLBACK_SECONDS, FirstUse, Mismatch
from pawl_gate.targets.base import Told, WireMessage
from pawl_spec.history import Question, Strike

MOST_SECONDS = 5.0
"""After this a hanging callback ends by itself, even if nobody releases it."""


INBOX, COUNT = b"inbox/", b"count"
"""Keys of the application's rows: one for each plaintext, with its number behind, and one that counts them."""

STRANGER = PublicKey(bytes(31) + b"\x07")
"""An identity that nobody has: what the hook for plaintexts tries to pin where it calls the library for that."""


SILENCE, NOTHING = Told(), nullcontext()
"""Of an operation in which nothing was heard or done, and what is around one in which nothing is to be."""


class ApplicationError(Exception):
    """What a callback raises that is told to raise."""


class Application:
    """One party's application. `call` does what a callback does that calls back into the library."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.armed: dict[str, str] = {}
        self.asks: set[str] = set()
        self.call: Callable[[str, PublicKey | None], WireMessage | None]
        self.peer: int | None
        """With whom `call` talks."""
        self.hang_up()
        self.digest: Callable[[], str] = lambda: ""
        """Of what the device stores."""
        self._calling = False
        self.heard: list[Event] = []
        """Events since somebody searched them for secrets."""
        self.logged: list[str] = []
        self._now = SILENCE
        self._released = threading.Event()

    def hang_up(self) -> None:
        """From now on a callback has nobody to talk with."""
        self.call, self.peer = lambda how, key: None, None

    def copy(self) -> Application:
        """An application that will decide as this one would, for a trial beside the real thing; it calls nobody."""
        twin = Application(strict=self.strict)
        twin.armed, twin.asks = dict(self.armed), set(self.asks)
        return twin

    def arm(self, callback: str, how: str) -> None:
        """Let the next callback of that name behave so."""
        self.armed[callback] = how
        self.asks.add(callback)

    def policy(self) -> IdentityPolicy:
        """The identity policy, with the callbacks that there are."""
        return IdentityPolicy(
            trust_on_first_use=not self.strict,
            # What they answer may be nonsense, which the types do not allow.
            on_first_use=cast(FirstUse, self._first_use) if "first-use" in self.asks else None,
            on_mismatch=cast(Mismatch, self._mismatch) if "mismatch" in self.asks else None,
            callback_seconds=CALLBACK_SECONDS,
        )

    @property
    def stores(self) -> bool:
        """Whether there is a hook that stores plaintexts."""
        return "plaintext" in self.asks

    def hook(self) -> StorePlaintext | None:
        """The hook that stores plaintexts, if there is one."""
        # What it answers may be nonsense, which the type does not allow.
        return cast(StorePlaintext, self._store_plaintext) if self.stores else None

    def inbox(self, rows: ApplicationRows) -> list[bytes]:
        """The plaintexts that it finds in its rows, oldest first."""
        return [plaintext for _, plaintext in rows.scan(INBOX)]

    def listening(self) -> AbstractContextManager[None]:
        """While an operation runs: forget what was heard before, catch the log, let go of what hangs at the end."""
        self.begin()
        return self._while_armed() if self.armed else NOTHING

    @contextmanager
    def _while_armed(self) -> Iterator[None]:
        log, handler = logging.getLogger("pawl"), _Kept(self.logged) if "event" in self.armed else None
        if handler is not None:
            log.addHandler(handler)
        hangs = "hang" in self.armed.values()
        if hangs:
            self._released.clear()
            vars(identity)["threading"] = THREADING
        try:
            yield
        finally:
            if hangs:
                self._released.set()
                vars(identity)["threading"] = threading
            if handler is not None:
                log.removeHandler(handler)

    def begin(self) -> None:
        """Another operation begins: forget what was heard before."""
        self._now = SILENCE

    def told(self) -> Told:
        """What was heard and done since it was last asked for."""
        told, self._now = self._now, SILENCE
        return told

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _first_use(self, name: str, key: PublicKey) -> object:
        self._asked("first-use", name, key)
        how = self._strike("first-use", key)
        return not self.strict if how is None else _answer(how, yes=True)

    def _mismatch(self, name: str, pinned: PublicKey, key: PublicKey) -> object:
        del pinned
        self._asked("mismatch", name, key)
        how = self._strike("mismatch", key)
        return Decision.REJECT if how is None else _answer(how, yes=Decision.REPLACE)

    def _store_plaintext(self, peer: ProtocolAddress, plaintext: bytes, rows: ApplicationRows) -> object:
        del peer
        number = int.from_bytes(rows.get(COUNT) or b"", "big")
        rows.put(INBOX + number.to_bytes(4, "big"), plaintext)
        rows.put(COUNT, (number + 1).to_bytes(4, "big"))
        # Only now: what it has written is to be gone if it fails.
        return "yes" if self._strike("plaintext", STRANGER) == "nonsense" else None

    def on_event(self, event: Event) -> object:
        """The callback for events."""
        self.heard.append(event)
        self._note(events=(*self._now.events, event.name))
        return self._strike("event", None)

    def _asked(self, callback: str, name: str, key: PublicKey) -> None:
        self._note(asked=(*self._now.asked, Question(callback, name, key.data.hex())))

    def _strike(self, callback: str, key: PublicKey | None) -> str | None:
        """Do what the callback was told to do once, if it was."""
        # While one misbehaves, the others behave: what each changed can be told apart.
        how = None if self._calling else self.armed.pop(callback, None)
        if how is None:
            return None
        self._misbehave(Strike(callback, how, self.peer, self.digest()), key)
        if how == "raise":
            raise ApplicationError("the application is broken")
        # Nobody limits the time of the others: they wait for nothing, and nobody for them.
        if how == "hang" and callback in ("first-use", "mismatch"):
            _limit_passes()
            self._released.wait(MOST_SECONDS)
        return how

    def _misbehave(self, strike: Strike, key: PublicKey | None) -> None:
        """Call back into the library, if that is what the callback does, and note what came of it."""
        sent: WireMessage | None = None
        self._calling = True
        try:
            if strike.how.startswith("call-"):
                sent = self.call(strike.how, key)
        except ProtocolError:
            # Trust questions and events go on; a hook whose call is refused fails.
            if strike.callback == "plaintext":
                raise
        finally:
            self._calling = False
            strike = replace(strike, after=self.digest())
            self.saw(strike, sent)

    def saw(self, strike: Strike, sent: WireMessage | None) -> None:
        """Note what somebody else did while the operation ran, and the message that it sent."""
        self._note(struck=(*self._now.struck, (strike, sent)))

    def _note(self, **more: object) -> None:
        now = self._now
        fields = {"events": now.events, "asked": now.asked, "struck": now.struck}
        self._now = Told(**{**fields, **more})  # type: ignore[arg-type]


def _answer(how: str, *, yes: object) -> object:
    """What a trust question gets for an answer; `yes` is the plain one."""
    match how:
        case "approve":
            return True
        case "reject":
            return False if yes is True else Decision.REJECT
        case "replace":
            return Decision.REPLACE
        case "nonsense":
            return "yes"
        case _:
            return yes


class _Asking(threading.Thread):
    """The thread of a trust question that hangs: its time limit passes when the callback says so, not after seconds.

    A busy machine then decides nothing: an honest callback has the whole limit, and one that hangs has hung at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settled = threading.Event()

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            super().run()
        finally:
            self.settled.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended or hangs, at most `timeout` seconds."""
        self.settled.wait(timeout)


def _limit_passes() -> None:
    """Called by a callback that hangs: whoever waits for its answer waits no longer."""
    asking = threading.current_thread()
    if isinstance(asking, _Asking):
        asking.settled.set()


THREADING = SimpleNamespace(Thread=_Asking, TIMEOUT_MAX=threading.TIMEOUT_MAX)
"""What `pawl.identity` takes from the module `threading`, while a question is to hang."""


class _Kept(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged."""
        self._texts.append(record.getMessage())
