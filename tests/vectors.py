"""Where the published vectors lie: the folder in PAWL_VECTORS, else ../shared/vectors beside the checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def vectors_dir() -> Path:
    """The folder of vectors. Without one the test is skipped, but fails where CI or PAWL_VECTORS is set."""
    named = os.environ.get("PAWL_VECTORS")
    folder = Path(named) if named else ROOT.parent / "shared" / "vectors"
    if not folder.is_dir():
        reason = f"the published vectors are not at {folder}; set PAWL_VECTORS to their folder"
        if named or os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def transcripts() -> list[dict[str, Any]]:
    """The two version 3 transcripts made with node-libsignal, keys included."""
    loaded: list[dict[str, Any]] = json.loads((vectors_dir() / "libsignal_node_v3.json").read_text())
    return loaded


def wycheproof(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each test of the Wycheproof file `name`, with the group that it belongs to."""
    loaded = json.loads((vectors_dir() / "wycheproof" / f"{name}.json").read_text())
    tests = [(group, test) for group in loaded["testGroups"] for test in group["tests"]]
    # The file says how many there are: none is lost on the way.
    assert len(tests) == loaded["numberOfTests"] > 0
    return tests
