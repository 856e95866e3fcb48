"""A sequence chart as a picture: where each line, arrow head and word of a chart's layout stands.

Lengths are in CSS pixels. The words are set in a monospaced face, so that their width is known without a browser.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Final

from pawl_gate.chart import NETWORK, Arrow, Layout, Note, Step, lane_name
from pawl_gate.visible import visible

MARGIN: Final = 30
"""From the left edge to the first lane's label: the step's number."""

LANE: Final = 96
"""From one lane to the next: room for an arrow with a word on it. Three lanes are as wide as a phone."""

HALF_LABEL: Final = 38
"""Half the width of the label of a lane."""

LINE: Final = 17
"""From one line of words to the next."""

GAP: Final = 13
"""Between two rows."""

TOP: Final = 40
"""Height of the labels of the lanes."""

COLUMNS: Final = 84
"""Characters of a line of words."""

CHARACTER: Final = 7.3
"""Width of one, at 12 pixels: the widest of the usual monospaced faces has 0.602 em."""

HEAD: Final = 7
"""Length of an arrow's head."""


@dataclass(frozen=True, slots=True)
class Words:
    """A line of words."""

    x: float
    y: float
    text: str
    kind: str
    """Its class: "step", "text", "broken", "note", "label", "lane"."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The label of a lane, and its line."""

    x: float
    name: str
    network: bool


@dataclass(frozen=True, slots=True)
class Shaft:
    """An arrow: its line, and its head as a path."""

    x1: float
    x2: float
    y: float
    head: str
    arrives: bool


@dataclass(slots=True)
class Picture:
    """Everything that is drawn."""

    width: float
    height: float = TOP
    lanes: list[Lane] = field(default_factory=list)
    shafts: list[Shaft] = field(default_factory=list)
    dots: list[tuple[float, float]] = field(default_factory=list)
    bands: list[tuple[float, float]] = field(default_factory=list)
    """Top and height of the rows that break an invariant."""
    words: list[Words] = field(default_factory=list)


def picture(layout: Layout) -> Picture:
    """Place everything that is on a chart."""
    at = {lane: MARGIN + HALF_LABEL + LANE * number for number, lane in enumerate(layout.lanes)}
    beside = max(at.values()) + HALF_LABEL + 16
    drawn = Picture(width=math.ceil(beside + COLUMNS * CHARACTER))
    drawn.lanes = [Lane(x, lane_name(lane), lane == NETWORK) for lane, x in at.items()]
    for row in layout.rows:
        if isinstance(row, Note):
            _note(drawn, row)
        else:
            _step(drawn, row, at, beside)
    return drawn


def _note(drawn: Picture, note: Note) -> None:
    y = drawn.height + LINE
    drawn.words.append(Words(MARGIN, y, ("... " if note.left_out else "") + note.text, "note"))
    drawn.height = y + GAP


def _step(drawn: Picture, step: Step, at: dict[int, int], beside: float) -> None:
    top = drawn.height
    lines = [(line, "text") for line in _wrapped(step.text)]
    if step.broken is not None:
        lines += [(line, "broken") for line in _wrapped(f"broken here: {step.broken}")]
    # A label needs room above its arrow.
    first = top + LINE + 2
    drawn.words.append(Words(8, first, str(step.number), "step"))
    drawn.words += [Words(beside, first + LINE * number, line, kind) for number, (line, kind) in enumerate(lines)]
    drawn.height = first + LINE * (len(lines) - 1) + GAP
    if step.broken is not None:
        drawn.bands.append((top + 3, drawn.height - top - 4))
    for arrow in step.arrows:
        _arrow(drawn, arrow, at, first)
    if step.at is not None:
        drawn.dots.append((at[step.at], first - 4))


def _arrow(drawn: Picture, arrow: Arrow, at: dict[int, int], y: float) -> None:
    start, end = at[arrow.start], at[arrow.end]
    right = 1 if end > start else -1
    tip = end - right
    if arrow.arrives:
        head = f"M{tip - right * HEAD} {y - 4}L{tip} {y}L{tip - right * HEAD} {y + 4}Z"
    else:
        # It stops before the lane, in a cross.
        tip -= right * 8
        head = f"M{tip - 4} {y - 4}L{tip + 4} {y + 4}M{tip - 4} {y + 4}L{tip + 4} {y - 4}"
    drawn.shafts.append(Shaft(start, tip, y, head, arrow.arrives))
    # Beside the lane where it starts, so that what passes behind the network's line stays readable.
    drawn.words.append(Words(start + right * LANE / 2, y - 5, visible(arrow.label), "label"))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(visible(" ".join(text.split())), COLUMNS, break_on_hyphens=False) or [""]
