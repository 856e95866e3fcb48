"""Set the checkout up: `make setup`, and first of all in `make test` and `make verify`.

Makes `.venv`, installs the locked packages with their hashes, this project in place and, where npm is there, the Node
packages of the peers; makes the environments of the peers in Python where a C compiler is, and builds the driver of the
peer in C where its headers are. What is already as the locks say is
left alone without asking the network. With CI set, a peer that cannot be installed is a failure; otherwise its tests
are skipped and this says so.

Kept to the syntax of old Pythons, so that an old one is told what is missing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "pawl-stamp"
LOCKS = [ROOT / "requirements" / "dev.txt", ROOT / "requirements" / "fuzz.txt", ROOT / "pyproject.toml"]
NODE_PEERS = [ROOT / "drivers" / name for name in ("libsignal-client", "node-libsignal", "privacyresearch")]

PYTHON_PEERS = [ROOT / "drivers" / name for name in ("omemo-dr", "python-axolotl")]
PYTHON_BUILD = ROOT / "drivers" / "python-build.txt"

C_PEER = ROOT / "drivers" / "libsignal-c"
C_PACKAGES = ["libsignal-protocol-c", "libcrypto", "jansson"]

STRICT = bool(os.environ.get("CI"))
"""In CI a peer that cannot be installed is a failure, not a skip."""


class SetupError(Exception):
    """Something is missing; the text says what to do."""


def main() -> int:
    """Bring everything up to date. Exit codes: 0 ready, 3 something could not be set up."""
    try:
        if sys.version_info < (3, 11):
            raise SetupError(
                "Python 3.11 or later is needed, this is {}.{}: make PYTHON=python3.12".format(*sys.version_info)
            )
        set_up_python()
        for peer in NODE_PEERS:
            set_up_node(peer)
        for peer in PYTHON_PEERS:
            set_up_python_peer(peer)
        set_up_c(C_PEER)
    except SetupError as error:
        say(str(error))
        return 3
    return 0


def set_up_python() -> None:
    """Make the environment and install what is locked, unless that is what is there."""
    stamp = digest(LOCKS, str(ROOT), sys.version)
    if up_to_date(STAMP, stamp):
        return
    say("making .venv with Python {}.{}.{}".format(*sys.version_info))
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=subprocess.DEVNULL) != 0:
        raise SetupError(
            "Python cannot make a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)"
        )
    say("installing the locked Python packages (requirements/dev.txt, hashes checked)")
    # A lock is complete. Left to follow requirements itself, pip takes the newest release for one with an extra, which
    # has no hash here.
    locked = ("--no-deps", "--require-hashes", "-r")
    pip(*locked, "requirements/dev.txt", otherwise="the locked packages could not be installed")
    try:
        pip(*locked, "requirements/fuzz.txt", otherwise="Atheris could not be installed")
    except SetupError as error:
        if STRICT:
            raise
        say(f"{error}: its tests will be skipped")
    pip("--no-deps", "--no-build-isolation", "--editable", ".", otherwise="the project could not be installed")
    STAMP.write_text(stamp)


def set_up_node(peer: Path) -> None:
    """Install the Node packages of one peer, unless they are what its lock says."""
    name = peer.name
    lock = peer / "package-lock.json"
    if not lock.exists():
        return
    stamp_file = peer / "node_modules" / ".pawl-stamp"
    stamp = digest([lock])
    if up_to_date(stamp_file, stamp):
        return
    if not shutil.which("node") or not shutil.which("npm"):
        without_peer(name, "there is no Node with npm")
        return
    say(f"installing the Node packages of {name} (npm ci)")
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    command = ["npm", "ci", "--ignore-scripts", "--fetch-retries=1", *quiet]
    if subprocess.call(command, cwd=str(peer), stdout=subprocess.DEVNULL) != 0:
        without_peer(name, "npm ci failed")
        return
    stamp_file.write_text(stamp)


def set_up_python_peer(peer: Path) -> None:
    """Make the environment of a peer in Python, unless it is what its lock says. Its parts in C are built here."""
    name = peer.name
    lock = peer / "requirements.txt"
    if not lock.exists():
        return
    environment = peer / ".venv"
    stamp_file = environment / ".pawl-stamp"
    stamp = digest([PYTHON_BUILD, lock], str(peer), sys.version)
    if up_to_date(stamp_file, stamp):
        return
    if not shutil.which("cc"):
        without_peer(name, "there is no C compiler")
        return
    say(f"making the environment of {name}")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(environment)], stdout=subprocess.DEVNULL) != 0:
        without_peer(name, "its environment could not be made")
        return
    python = environment / "bin" / "python"
    try:
        for of, more in ((PYTHON_BUILD, []), (lock, ["--no-build-isolation", "--use-pep517"])):
            locked = ("--no-deps", "--require-hashes", "-r", str(of))
            pip(*more, *locked, otherwise="its packages could not be installed", python=python)
    except SetupError as error:
        without_peer(name, str(error))
        return
    stamp_file.write_text(stamp)


def set_up_c(peer: Path) -> None:
    """Build the driver of the peer in C, unless it was built from these very files."""
    sources = [*sorted(peer.glob("**/*.[ch]")), peer / "Makefile"]
    if not sources[-1].exists():
        return
    stamp_file = peer / "build" / ".pawl-stamp"
    stamp = digest(sources)
    if up_to_date(stamp_file, stamp):
        return
    if not shutil.which("cc") or not shutil.which("pkg-config") or not has_packages():
        packages = "gcc libc6-dev pkg-config libsignal-protocol-c-dev libssl-dev libjansson-dev"
        without_peer(peer.name, f"its headers are not here (on Debian and Ubuntu: apt-get install {packages})")
        return
    say(f"building the driver of {peer.name}")
    if subprocess.call(["make", "--silent", "-C", str(peer)], stdout=subprocess.DEVNULL) != 0:
        without_peer(peer.name, "it could not be built")
        return
    stamp_file.write_text(stamp)


def has_packages() -> bool:
    """Whether what the driver in C is built with is installed."""
    return subprocess.call(["pkg-config", "--exists", *C_PACKAGES]) == 0


def without_peer(name: str, reason: str) -> None:
    """Go on without a peer, except in CI."""
    if STRICT:
        raise SetupError(f"{name}: {reason}, and CI is set")
    say(f"{name}: {reason}; its tests will be skipped")


def pip(*arguments: str, otherwise: str, python: Path = PYTHON) -> None:
    """Run pip of a new environment."""
    command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments]
    if subprocess.call(command, cwd=str(ROOT)) != 0:
        raise SetupError(otherwise)


def digest(files: "list[Path]", *more: str) -> str:
    """What an installation was made from."""
    parts = [path.read_bytes() for path in files] + [text.encode() for text in more]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def up_to_date(stamp_file: Path, stamp: str) -> bool:
    """Whether a former run ended with this very stamp."""
    return stamp_file.exists() and stamp_file.read_text() == stamp


def say(text: str) -> None:
    """Progress goes to stderr."""
    print("setup: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
