"""Events reach a callback, the standard `logging`, and OpenTelemetry; none of them says whose they are, or what."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pawl import Device, MemoryStore
from pawl.errors import BadMac, PoisonJob
from pawl.events import Event, PreKeysGenerated, each_of, log
from pawl.telemetry import Telemetry
from pawl.workers import WorkerPool
from tests.devices import ALICE, BOB, flipped
from tests.workers.service import FAULTY, QUICK, run, talking


class Collected:
    """What OpenTelemetry's own SDK collected."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(
            meter_provider=MeterProvider(metric_readers=[self.reader]), tracer_provider=self.tracers
        )

    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Each instrument's points: attributes, and the sum or the count."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: [
                (dict(point.attributes or {}), getattr(point, "value", None) or getattr(point, "count", None))
                for point in metric.data.data_points
            ]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def test_jobs_become_metrics_and_spans() -> None:
    """Every job is counted and has a span under its caller's; deaths and refusals are seen in both."""
    collected = Collected()

    async def work() -> None:
        async with WorkerPool(QUICK, on_event=collected.telemetry, program=FAULTY) as pool:
            alice, bob = await talking(pool)
            with collected.tracers.get_tracer("test").start_as_current_span("request") as request:
                message = await alice.encrypt(BOB, b"secret text")
            with pytest.raises(BadMac):
                await bob.decrypt(ALICE, flipped(message))
            with pytest.raises(PoisonJob):
                await alice.encrypt(BOB, b"!kill")
            ended = pool.stats().ended
            points = collected.points()
            jobs = {(each["operation"], each["outcome"]): count for each, count in points["pawl.jobs"]}
            assert jobs["encrypt", "done"] == 3
            assert jobs["decrypt", "bad-mac"] == 1
            assert jobs["encrypt", "poison-job"] == 1
            assert sum(jobs.values()) == ended
            assert sum(count for _, count in points["pawl.job.duration"]) == ended
            assert points["pawl.refusals"] == [({"code": "bad-mac"}, 1)]
            events = {each["event"]: count for each, count in points["pawl.events"]}
            assert events["worker-crashed"] == QUICK.tries
            assert events["job-queued"] == events["job-ended"] == ended
            assert sum(count for _, count in points["pawl.jobs.bytes"]) == ended
            spans = collected.exporter.get_finished_spans()
            assert len([span for span in spans if span.name.startswith("pawl ")]) == ended
            [mine] = [span for span in spans if span.parent is not None]
            assert mine.name == "pawl encrypt"
            assert mine.parent is not None
            assert mine.parent.span_id == request.get_span_context().span_id
            assert [event.name for event in mine.events] == ["job-dispatched"]
            [poison] = [span for span in spans if (span.attributes or {}).get("pawl.outcome") == "poison-job"]
            assert [event.name for event in poison.events].count("job-retried") == QUICK.tries - 1
            assert not poison.status.is_ok

    run(work)
    shown = repr(collected.points()) + "".join(span.to_json() for span in collected.exporter.get_finished_spans())
    for secret in ("alice", "bob", "secret text"):
        assert secret not in shown


def test_a_synchronous_device_is_counted_too() -> None:
    collected = Collected()
    Device(MemoryStore(), on_event=collected.telemetry).generate_prekeys(3)
    assert ({"event": "prekeys-generated"}, 1) in collected.points()["pawl.events"]


def test_events_go_to_the_log_and_to_several_receivers(caplog: pytest.LogCaptureFixture) -> None:
    """`each_of` hands each event to all, also where one fails; `log` is what happens without a receiver."""
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError("its own text")

    with caplog.at_level(logging.DEBUG, "pawl"):
        Device(MemoryStore(), on_event=each_of(broken, log, told.append)).generate_prekeys(3)
    assert told == [PreKeysGenerated(1, 3)]
    assert [record.getMessage() for record in caplog.records] == [
        "the receiver of events failed at prekeys-generated: ValueError",
        "prekeys-generated: first_id=1 count=3",
    ]


def test_a_pool_without_a_receiver_logs(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with WorkerPool(QUICK) as pool:
            await talking(pool)

    with caplog.at_level(logging.INFO, "pawl"):
        run(work)
    found = [record.pawl_event.name for record in caplog.records]  # type: ignore[attr-defined]
    assert found[0] == "pool-ready"
    assert found[-1] == "pool-closed"
    # DEBUG was off: no job is told of.
    assert "job-queued" not in found
