"""The page of a campaign holds what was reached over time, and which lines of each file."""

from __future__ import annotations

from typing import Any

import pytest

from pawl_gate.page.campaign import HEIGHT, LEFT, MARGIN, WIDTH, plot, render

ENTRY: dict[str, Any] = {
    "entry": "key",
    "units": 2,
    "executions": 1000,
    "rate": 50.0,
    "inputs": 3,
    "bytes": 99,
    "features": 40,
    "edges": 30,
    "invariants": ["IDC-05"],
    "course": [(0.0, 10), (30.0, 25), (60.0, 40)],
    "findings": 0,
}
TOLD: dict[str, Any] = {
    "seed": 7,
    "revision": "0123",
    "tools": {"Python": "3.13.0"},
    "rounds": 2,
    "seconds": 60.0,
    "units": 2,
    "executions": 1000,
    "unit_seconds": 20.0,
    "rate": 16.7,
    "lost": {},
    "given_up": [],
    "findings": [],
    "entries": [ENTRY],
    "files": [
        {"file": "pawl/wire/scanner.py", "lines": 60, "reached": 60},
        {"file": "pawl/crypto/keys.py", "lines": 40, "reached": 10},
    ],
}


def test_features_over_time_go_up_in_steps() -> None:
    """The first point is at the left and the bottom, the last at the right and the top; between two it stays."""
    drawn = plot(ENTRY["course"])
    assert drawn is not None
    points = [tuple(map(float, each.split(","))) for each in drawn.points.split()]
    assert points[0] == (LEFT, HEIGHT - MARGIN)
    assert points[-1] == (WIDTH - MARGIN, MARGIN)
    assert [y for _, y in points[:-1:2]] == [y for _, y in points[1::2]]
    assert [points[0], points[2]] == [(LEFT, HEIGHT - MARGIN), ((WIDTH - MARGIN + LEFT) / 2, HEIGHT / 2)]
    assert drawn.words == "From 10 features to 40 in 60 seconds."


@pytest.mark.parametrize("course", [[], [(0.0, 5)]])
def test_less_than_two_points_make_no_plot(course: list[tuple[float, int]]) -> None:
    """A campaign that only looked at its corpus has no course."""
    assert plot(course) is None


def test_the_page_has_a_plot_and_the_files_with_the_least_covered_first() -> None:
    """Of each entry point a curve, of each file how many lines were reached."""
    page = render(TOLD)
    assert page.count('<polyline class="curve"') == 1
    assert "From 10 features to 40 in 60 seconds." in page
    assert page.index("pawl/crypto/keys.py") < page.index("pawl/wire/scanner.py")
    assert "25 %" in page
    assert "100 %" in page
