"""A real browser for tests: where it is, how it is started, and what it said while a page was open."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

QUIET: Final = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""The browser asks nobody for anything."""


def chromium() -> str | None:
    """The Chromium of this machine: the environment's PAWL_CHROMIUM, or one on the path."""
    named = os.environ.get("PAWL_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def why_no_browser() -> str | None:
    """What keeps the tests in a browser from running, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: make setup"
    if chromium() is None:
        return "there is no Chromium (on Debian and Ubuntu: apt-get install chromium fonts-dejavu-core)"
    return None


@dataclass
class Seen:
    """What the browser said and asked for while a page was open."""

    requests: list[str] = field(default_factory=list)
    """Addresses, whether or not they were let through."""
    failed: dict[str, str | None] = field(default_factory=dict)
    """Of those the ones that were not, and why."""
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """Whatever should not have been said."""
        return [*self.console, *self.errors, *self.dialogs]


@contextmanager
def started() -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox cannot be set up by root, as in many containers.
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *alone])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[tuple[Page, Seen]]:
    """A page, opened from its file without a network. What it asks for is noted, and goes nowhere."""
    options.setdefault("viewport", {"width": 1200, "height": 800})
    context = browser.new_context(offline=True, reduced_motion="reduce", **options)
    context.set_default_timeout(10_000)
    seen = Seen()
    try:
        page = context.new_page()
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("requestfailed", lambda request: seen.failed.update({request.url: request.failure}))
        page.on("console", lambda message: seen.console.append(message.text))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))

        def dismiss(dialog: Any) -> None:
            seen.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.goto(path.as_uri())
        yield page, seen
    finally:
        context.close()
