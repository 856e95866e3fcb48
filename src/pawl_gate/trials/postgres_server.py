"""A real PostgreSQL server of a campaign's own: made from installed programs, in a folder, on a socket there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from pawl_gate.trials import Unavailable

PACKAGES: Final = Path("/usr/lib/postgresql")
"""Where Debian and those that follow it keep the programs, by release."""

START_SECONDS: Final = 60.0
"""A server that crashed replays its log first, and waits until the last one's processes are gone."""


def programs() -> Path | None:
    """The folder of the server's programs, of the newest release that is installed."""
    packaged = sorted(PACKAGES.glob("*/bin/initdb"), key=lambda path: path.parent.parent.name.zfill(8))
    found = shutil.which("initdb")
    return packaged[-1].parent if packaged else Path(found).resolve().parent if found else None


class Server:
    """One cluster: started, stopped and killed as it is needed. Used in a `with`, it is removed at the end.

    `place`: where its folder is made. Raises: Unavailable, where the programs are not installed.
    """

    def __init__(self, place: str = "/tmp") -> None:  # noqa: S108 - a folder of its own is made there
        found = programs()
        if found is None:
            raise Unavailable("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
        self._programs = found
        # The path of a socket has at most some 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pawl-pg-", dir=place))
        # The server refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "pawl", "--no-sync", "-E", "UTF8", "--locale=C")
        self._options = ""
        # After a crash the server syncs each of its files first, some thousand. One sync of the file system does the
        # same, much sooner; releases before 14 do not know it.
        release = (self.folder / "data" / "PG_VERSION").read_text("ascii")
        self._always = "-c recovery_init_sync_method=syncfs" if int(release.partition(".")[0]) >= 14 else ""

    @property
    def data(self) -> str:
        """The cluster's folder."""
        return str(self.folder / "data")

    @property
    def conninfo(self) -> str:
        """The connection string."""
        return f"host={self.folder} user=pawl dbname=postgres"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 - the server's own programs
            [str(self._programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._as,
        )

    def start(self, options: str = "") -> None:
        """Start it, and wait until it answers."""
        self._options = options
        settings = f"-c listen_addresses='' -c unix_socket_directories={self.folder} {self._always} {options}"
        self._run("pg_ctl", "-D", self.data, "-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, how: str = "fast") -> None:
        """`how`: "fast" ends connections and tidies up, "immediate" is as a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL. Its processes notice, and end soon after."""
        first, *_ = (self.folder / "data" / "postmaster.pid").read_text("ascii").splitlines()
        os.kill(int(first), signal.SIGKILL)

    def start_again(self) -> None:
        """Start it after a kill: that is refused until the last of the old processes is gone."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.start(self._options)
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def remove(self) -> None:
        """End it, and delete all that it wrote."""
        try:
            with suppress(subprocess.CalledProcessError):
                self.stop("immediate")
        finally:
            shutil.rmtree(self.folder)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()
