"""Invariants of the catalogue that nothing judges yet. They are listed, and never counted as holding."""

from __future__ import annotations

from pawl_spec.registry import not_yet_judged

GROUPS = "sender keys are not built yet"
WORKERS = "the worker pool is not built yet"

for id_, threat, claim, why in (
    ("WRK-01", "T-WORKER", "Pending and queued jobs never exceed the limits.", WORKERS),
    ("WRK-02", "T-WORKER", "Over the limit a job is refused at once with a typed error.", WORKERS),
    ("WRK-03", "T-WORKER", "Each job ends exactly once, with its own result or a typed error.", WORKERS),
    ("WRK-04", "T-WORKER", "A dead or hung worker is noticed and replaced.", WORKERS),
    ("WRK-05", "T-WORKER", "A bad argument is refused to its caller and costs no slot.", WORKERS),
    ("WRK-06", "T-WORKER", "Each transition emits an event; closing ends all jobs and processes.", WORKERS),
    ("GRP-01", "T-REPLAY", "The CTR rules hold per sender-key chain.", GROUPS),
    ("GRP-02", "T-FORGERY", "Every group message carries a valid signature of its chain.", GROUPS),
    ("GRP-03", "T-REPLAY", "A replayed distribution message never rewinds a chain.", GROUPS),
    ("GRP-04", "T-KEYS", "A removed member decrypts nothing new.", GROUPS),
    ("GRP-05", "T-FORGERY", "A member cannot send as another member.", GROUPS),
    ("GRP-06", "T-KEYS", "KEY, BND and ATM hold for sender-key records.", GROUPS),
):
    not_yet_judged(id_, threat, claim, why=why)
