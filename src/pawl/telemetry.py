"""Events as OpenTelemetry metrics and traces; needs the extra `pawl-signal[otel]`.

    telemetry = Telemetry()
    pool = WorkerPool(on_event=telemetry)          # or Device(store, on_event=telemetry)

What is measured holds no peer, no group and no key: names, codes and operations are all that a label says. Which
providers collect it, and where it goes, is for the application to set up, as ever with OpenTelemetry.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from pawl.events import (
    DistributionRefused,
    Event,
    GroupMessageRefused,
    JobDispatched,
    JobEnded,
    JobQueued,
    JobRetried,
    MessageRefused,
    WorkerRevived,
)

SCOPE: Final = "pawl"
"""The name of the meter and of the tracer."""

MAX_SPANS: Final = 100_000
"""Spans that may be open. A pool has fewer jobs; where ends are never told, no more is kept."""


class Telemetry:
    """A receiver of events that counts them, and makes a span of each job of a worker pool. One for each pool.

    Counters are `pawl.events` (by `event`), `pawl.refusals` (by `code`) and `pawl.jobs` (by `operation` and `outcome`).
    Histograms are `pawl.job.duration` and `pawl.worker.revival`, in seconds, and `pawl.jobs.queued`,
    `pawl.jobs.pending` and `pawl.jobs.bytes`, when a job is taken.

    A span is named after the operation, such as `pawl encrypt`, and is a child of the span that was current where the
    call was made. Without providers the global ones are used.
    """

    def __init__(
        self, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._events = meter.create_counter("pawl.events", "1", "Events, by name")
        self._refusals = meter.create_counter("pawl.refusals", "1", "Received messages that were refused, by code")
        self._jobs = meter.create_counter("pawl.jobs", "1", "Jobs that ended")
        self._duration = meter.create_histogram("pawl.job.duration", "s", "From when a job was taken to its end")
        self._revival = meter.create_histogram("pawl.worker.revival", "s", "From a worker's death to the next one")
        self._queued = meter.create_histogram("pawl.jobs.queued", "1", "Jobs that wait, when one is taken")
        self._pending = meter.create_histogram("pawl.jobs.pending", "1", "Jobs in work, when one is taken")
        self._bytes = meter.create_histogram("pawl.jobs.bytes", "By", "Of the arguments of all jobs, when one is taken")
        self._spans: dict[int, Span] = {}

    def __call__(self, event: Event) -> None:
        """Count `event`; begin, continue or end the span of its job."""
        self._events.add(1, {"event": event.name})
        if isinstance(event, JobQueued):
            self._begin(event)
        elif isinstance(event, JobEnded):
            self._end(event)
        elif isinstance(event, JobDispatched):
            self._note(event.job, event.name, {"worker": event.worker, "batch": event.batch})
        elif isinstance(event, JobRetried):
            self._note(event.job, event.name, {"why": event.why, "attempt": event.attempt})
        elif isinstance(event, MessageRefused | DistributionRefused | GroupMessageRefused):
            self._refusals.add(1, {"code": event.code})
        elif isinstance(event, WorkerRevived):
            self._revival.record(event.seconds)

    def _begin(self, event: JobQueued) -> None:
        self._queued.record(event.queued)
        self._pending.record(event.pending)
        self._bytes.record(event.held_bytes)
        if len(self._spans) < MAX_SPANS:
            # Its parent is the caller's span: this is called where the job is handed in.
            attributes: dict[str, str | int] = {"pawl.operation": event.operation, "pawl.job": event.job}
            self._spans[event.job] = self._tracer.start_span(f"pawl {event.operation}", attributes=attributes)

    def _note(self, job: int, name: str, attributes: dict[str, str | int]) -> None:
        span = self._spans.get(job)
        if span is not None:
            span.add_event(name, attributes)

    def _end(self, event: JobEnded) -> None:
        labels = {"operation": event.operation, "outcome": event.outcome}
        self._jobs.add(1, labels)
        self._duration.record(event.seconds, labels)
        span = self._spans.pop(event.job, None)
        if span is not None:
            span.set_attribute("pawl.outcome", event.outcome)
            if event.outcome not in ("done", "cancelled"):
                span.set_status(Status(StatusCode.ERROR, event.outcome))
            span.end()
