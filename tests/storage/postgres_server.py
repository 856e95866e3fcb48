"""A real PostgreSQL server for the tests: made from the system's packages in a folder of its own, on a socket there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def programs() -> Path | None:
    """The folder of the server's programs, of the newest release that is installed."""
    found = shutil.which("initdb")
    return PACKAGES[-1] if PACKAGES else Path(found).resolve().parent if found else None


class Server:
    """One cluster: started, stopped and killed as a test needs it."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        # The path of a socket has at most some 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pawl-pg-", dir="/tmp"))
        # The server refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "pawl", "--no-sync", "-E", "UTF8", "--locale=C")

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def conninfo(self) -> str:
        return f"host={self.folder} user=pawl dbname=postgres"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, str(self._programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self, options: str = "") -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self.folder} {options}"
        self._run("pg_ctl", "-D", self.data, "-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, how: str = "fast") -> None:
        """`how`: "fast" ends connections and tidies up, "immediate" is as a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")

    def remove(self) -> None:
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder)
