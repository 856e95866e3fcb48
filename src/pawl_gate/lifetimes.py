"""What we start ends with us, also where we are killed and can end nothing any more."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

ORPHANED: Final = 1
"""The exit status of a worker whose parent is gone: nobody reads it."""

PR_SET_PDEATHSIG: Final = 1
"""Source: Linux, prctl(2)."""


def end_with_parent() -> None:
    """Called in a worker of `multiprocessing`: from now on it ends as soon as its parent has, in whatever it does."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        # The system closes the parent's end of a pipe, however the parent ends.
        parent.join()
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def killed_with_parent() -> Callable[[], None] | None:
    """For `preexec_fn` of `subprocess.Popen`: let the system kill the program once the thread that started it is gone.

    None where the system cannot: there the end of its stdin has to do.
    """
    if sys.platform != "linux":
        return None
    # All that may fail, or take a lock, is done before the fork.
    prctl, kill, ours = ctypes.CDLL(None).prctl, int(signal.SIGKILL), os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, kill)
        if os.getppid() != ours:
            # It was gone before it could be said.
            os._exit(ORPHANED)

    return tie
