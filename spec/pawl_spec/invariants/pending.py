"""Invariants of the catalogue that nothing judges yet. They are listed, and never counted as holding."""

from __future__ import annotations

from pawl_spec.registry import not_yet_judged

WORKERS = "the worker pool is not built yet"

for id_, threat, claim, why in (
    ("WRK-01", "T-WORKER", "Pending and queued jobs never exceed the limits.", WORKERS),
    ("WRK-02", "T-WORKER", "Over the limit a job is refused at once with a typed error.", WORKERS),
    ("WRK-03", "T-WORKER", "Each job ends exactly once, with its own result or a typed error.", WORKERS),
    ("WRK-04", "T-WORKER", "A dead or hung worker is noticed and replaced.", WORKERS),
    ("WRK-05", "T-WORKER", "A bad argument is refused to its caller and costs no slot.", WORKERS),
    ("WRK-06", "T-WORKER", "Each transition emits an event; closing ends all jobs and processes.", WORKERS),
):
    not_yet_judged(id_, threat, claim, why=why)
