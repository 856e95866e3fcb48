"""What all tests share: when a peer may be missing, and how Hypothesis runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.gate.browser import why_no_browser

ROOT = Path(__file__).resolve().parent.parent

# Two cores shared by all tests make time limits per example meaningless. In CI the same examples run every time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# A mutant is killed by the first example that fails; a shorter one tells nothing more. A busy machine kills none.
settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def why_no_node_peer(peer: str = "node-libsignal", package: str = "libsignal") -> str | None:
    """What keeps the driver of a Node package from running, or None."""
    if shutil.which("node") is None:
        return "there is no Node"
    if not (ROOT / "drivers" / peer / "node_modules" / package).is_dir():
        return f"the Node packages of drivers/{peer} are not installed: make setup, with npm"
    return None


def why_no_official_peer() -> str | None:
    """What keeps the driver of libsignal-client from running, or None."""
    return why_no_node_peer("libsignal-client", "@signalapp/libsignal-client")


def why_no_privacyresearch_peer() -> str | None:
    """What keeps the driver of privacyresearch from running, or None."""
    return why_no_node_peer("privacyresearch", "@privacyresearch/libsignal-protocol-typescript")


def why_no_c_peer() -> str | None:
    """What keeps the driver of libsignal-c from running, or None."""
    if not (ROOT / "drivers" / "libsignal-c" / "build" / "driver").is_file():
        return "the driver in drivers/libsignal-c is not built: make setup, with libsignal-protocol-c-dev"
    return None


def why_no_python_peer(peer: str) -> str | None:
    """What keeps the driver of a peer in Python from running, or None."""
    if not (ROOT / "drivers" / peer / ".venv" / ".pawl-stamp").is_file():
        return f"the environment of drivers/{peer} is not made: make setup, with a C compiler"
    return None


def why_no_atheris() -> str | None:
    """What keeps Atheris from running, or None."""
    if importlib.util.find_spec("atheris") is None:
        return "Atheris is not installed: it has wheels for Linux on x86-64 only"
    return None


NEEDS = {
    "node_peer": why_no_node_peer,
    "official_peer": why_no_official_peer,
    "privacyresearch_peer": why_no_privacyresearch_peer,
    "c_peer": why_no_c_peer,
    "axolotl_peer": partial(why_no_python_peer, "python-axolotl"),
    "omemo_peer": partial(why_no_python_peer, "omemo-dr"),
    "atheris": why_no_atheris,
    "browser": why_no_browser,
}
"""Markers of tests that need something which not every machine has."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, a test whose need is missing; in CI that is a failure."""
    for marker, why_not in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = why_not()
        if reason is None:
            continue
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
