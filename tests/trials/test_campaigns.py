"""Fault campaigns with real processes, in short forms over each store; `pawl store trial` runs the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl_gate.trials import MODULES, campaign
from tests.trials.servers import marked, need

SHORT = [("kill", store, 10) for store in ("sqlite", "json", "adapter", "postgres")]
SHORT += [("hammer", store, 5) for store in ("sqlite", "json", "postgres")]
SHORT += [("server", "postgres", 2)]

JUDGED = {"ATM-01", "ATM-06", "ATM-09", "AUT-01", "CTR-02", "CTR-03", "CTR-08"}
"""What each campaign checks in a few rounds; what comes by chance is not in it."""

WITH_BLOWS = {"kill", "server"}


@pytest.mark.parametrize(("name", "store", "amount"), [marked(store, name, store, n) for name, store, n in SHORT])
def test_a_short_campaign(name: str, store: str, amount: int, tmp_path: Path) -> None:
    """ATM-02, ATM-04, KEY-03: kills, processes at once and a server that goes away lose nothing and use nothing twice."""
    need(store)
    said: list[str] = []
    report = campaign(name).run(store, amount, 7, said.append, tmp_path)
    assert [str(each) for each in report.broken] == []
    assert report.checked.keys() >= JUDGED | ({"ATM-02"} if name in WITH_BLOWS else {"ATM-04"})
    assert (report.name, report.store, report.seed) == (name, store, 7)
    assert said
    # It was no green light without a lamp.
    counted = report.counted
    assert counted["ciphertexts read by peers"] == counted["ciphertexts handed out"] > 0
    assert counted["letters read"] > 0
    assert counted["repeats refused"] > 0
    struck = {"kill": "kills", "hammer": "rounds"}.get(name)
    assert struck is None or counted[struck] == amount
    assert name != "server" or counted["postmasters killed"] == counted["servers stopped as by a crash"] == 1


@pytest.mark.parametrize("name", ["kill", "hammer", "server"])
def test_what_a_campaign_says_of_itself(name: str) -> None:
    """Issue: "at least 1,000 kills in the nightly budget and 50 in CI"; every campaign has both budgets."""
    one = campaign(name)
    assert name in MODULES
    assert {store for _, store, _ in SHORT if _ == name} <= set(one.STORES)
    assert one.AMOUNTS["pr"] < one.AMOUNTS["nightly"]
    assert name != "kill" or (one.AMOUNTS["pr"], one.AMOUNTS["nightly"]) == (50, 1000)
