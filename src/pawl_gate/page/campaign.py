"""The page of a campaign: what was found, coverage over time, and coverage by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pawl_gate.page.environment import environment

WIDTH: Final = 640
HEIGHT: Final = 160
LEFT: Final = 64
"""For the numbers of the scale."""
MARGIN: Final = 24


@dataclass(frozen=True, slots=True)
class Plot:
    """A curve that goes up in steps."""

    points: str
    """Of the polyline."""
    most: int
    least: int
    seconds: float
    words: str


def plot(course: Sequence[tuple[float, int]]) -> Plot | None:
    """The course of an entry point; None where there are fewer than two points."""
    if len(course) < 2:
        return None
    end = course[-1][0] or 1.0
    least, most = course[0][1], max(course[-1][1], course[0][1] + 1)
    steps: list[str] = []
    height = HEIGHT - 2 * MARGIN
    before = None
    for seconds, features in course:
        x = LEFT + (WIDTH - LEFT - MARGIN) * seconds / end
        y = HEIGHT - MARGIN - height * (features - least) / (most - least)
        if before is not None:
            # Between two points nothing is known: it stays until the next one.
            steps.append(f"{x:.1f},{before:.1f}")
        steps.append(f"{x:.1f},{y:.1f}")
        before = y
    words = f"From {course[0][1]:,} features to {course[-1][1]:,} in {end:,.0f} seconds."
    return Plot(" ".join(steps), course[-1][1], least, end, words)


def render(told: dict[str, Any]) -> str:
    """The page, ended by a newline. The same figures give the same text."""
    found = told["findings"]
    state = ("findings", "bad") if found else ("incomplete", "warn") if told["given_up"] else ("no findings", "good")
    reached, lines = (sum(one[key] for one in told["files"]) for key in ("reached", "lines"))
    return environment().get_template("campaign.html").render(
        told=told,
        state=state,
        plots=[(one, plot(one["course"])) for one in told["entries"]],
        files=sorted(told["files"], key=lambda one: (one["reached"] / one["lines"], one["file"])),
        covered=(reached, lines),
        size=(WIDTH, HEIGHT, LEFT, MARGIN),
    )  # fmt: skip
