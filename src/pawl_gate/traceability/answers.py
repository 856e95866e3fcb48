"""The answers in prose: docs/explanation/threat-model.md, where each line of the threat model has an anchor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = "docs/explanation/threat-model.md"
"""From the checkout's folder."""

ANCHOR: Final = re.compile(r'<a id="([a-z-]+)"></a>')
ANSWER: Final = re.compile(
    r'^- <a id="([a-z-]+)"></a>\*\*(.+?)\*\*(.*?)\n  Invariants: (.+?)\.\n  Remains: (.+?)\.$', re.M | re.S
)
LINKED: Final = re.compile(r"\[([A-Z]{3}-[0-9]{2})\]\(\.\./reference/invariants\.md#([a-z]{3}-[0-9]{2})\)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page says to one line."""

    anchor: str
    line: int
    """On the page."""
    does: str
    """What Pawl does."""
    invariants: tuple[str, ...]
    links: tuple[str, ...]
    """The anchors that the ids lead to."""
    remains: str


def answers(text: str) -> list[Answer]:
    """The answers of a page, in its order. One that lacks a part is not among them."""
    found = []
    for match in ANSWER.finditer(text):
        anchor, bold, does, ids, remains = match.groups()
        links = LINKED.findall(ids)
        number = text.count("\n", 0, match.start()) + 1
        ids_of, slugs = tuple(id_ for id_, _ in links), tuple(slug for _, slug in links)
        found.append(Answer(anchor, number, _plain(f"{bold} {does}"), ids_of, slugs, _plain(remains)))
    return found


def read(root: Path) -> list[Answer]:
    """The answers of a checkout; none where it has no such page."""
    page = root / PAGE
    return answers(page.read_text("utf-8")) if page.is_file() else []


def _plain(text: str) -> str:
    """Text without markup: of a link its words, of code the code."""
    return " ".join(re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text).replace("`", "").split())
