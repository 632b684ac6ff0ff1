"""The worker's small parts: slots, metrics, streams, handler selection, tracing, watchdog, maintenance."""

from __future__ import annotations

import asyncio
import logging
import threading
import types

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentpool_core.errors import HandlerError, QueueUnreachableError, SettingError, StaleLeaseError
from agentpool_core.jobs import JobRequest
from agentpool_core.queue.completions import Maintenance, Renewal, SettleOutcome
from agentpool_core.queue.settings import PoolSettings
from agentpool_core.tracing import child_of
from agentpool_worker import App
from agentpool_worker.handlers import selection
from agentpool_worker.handlers.http import _retry_after
from agentpool_worker.handlers.stream import EventParser, PartName, parse_ndjson
from agentpool_worker.jobs.queue_calls import QueueCalls, gather_seconds
from agentpool_worker.lease.heartbeat import Heartbeat
from agentpool_worker.lease.side_loop import SideLoop
from agentpool_worker.lease.watchdog import Watchdog
from agentpool_worker.maintenance import MaintenanceLoop
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.telemetry.metrics import WorkerMetrics
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, lease


def test_slots_count_and_refuse_nonsense():
    """Slots never go below one, and a slot that was not taken cannot be released."""
    slots = Slots(2)
    slots.take()
    assert (slots.total, slots.used, slots.free) == (2, 1, 1)
    with pytest.raises(ValueError, match="at least one"):
        slots.resize(0)
    slots.release()
    with pytest.raises(RuntimeError):
        slots.release()


def test_exposition_is_valid_and_its_labels_are_bounded():
    """The page parses, counts are right, and kinds of jobs cannot flood the page."""
    metrics = WorkerMetrics(Slots(3))
    for number in range(200):
        metrics.record_start(lease(number=number))
        metrics.record_end(f"kind-{number}", 0.02)
        metrics.record_outcomes([f"kind-{number}"], [SettleOutcome.APPLIED])
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    jobs = families["agentpool_worker_jobs"].samples
    assert len(jobs) == 51
    assert sum(sample.value for sample in jobs) == 200
    runs = {
        sample.labels["kind"]: sample.value
        for sample in families["agentpool_worker_job_run_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert (len(runs), runs["kind-0"], runs["other"]) == (51, 1, 150)
    assert "agentpool_worker_gpu_memory_bytes" not in families
    dispatch = {
        sample.labels.get("le"): sample.value
        for sample in families["agentpool_worker_dispatch_latency_seconds"].samples
    }
    assert (dispatch["0.0025"], dispatch["0.005"], dispatch["+Inf"]) == (0, 200, 200)


def test_ndjson_and_event_streams_carry_the_same_parts():
    """Progress, checkpoints, results and errors are read from both forms."""
    assert parse_ndjson(b"\n") is None
    assert parse_ndjson(b'{"progress": 3}\n').value == 3
    assert parse_ndjson(b'{"error": "no", "retry": false}').retry is False
    with pytest.raises(ValueError, match="a line must be an object"):
        parse_ndjson(b"[1]")
    events = EventParser()
    lines = [b": comment\n", b"event: progress\n", b'data: {"a":\n', b"data: 1}\n", b"\n", b"data: x\n", b"\n"]
    parts = [part for line in lines if (part := events.feed(line)) is not None]
    assert [(part.name, part.value) for part in parts] == [(PartName.PROGRESS, {"a": 1})]
    events.feed(b"event: error")
    events.feed(b'data: {"error": "no", "retry": false}')
    error = events.feed(b"")
    assert (error.value, error.retry) == ("no", False)


@pytest.mark.parametrize(
    ("header", "low", "high"), [("7", 7, 7), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("-5", 0, 0)]
)
def test_retry_after_is_seconds_or_a_date(header: str, low: float, high: float):
    """Both forms of the header give seconds from now, never below zero."""
    assert low <= _retry_after(header) <= high
    assert [_retry_after(header) for header in ("soon", "inf", "nan", "1e999")] == [None] * 4
    assert _retry_after(None) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"python": {}}', '{"http": {"port": 1}, "command": {"argv": ["x"]}}', '{"go": {}}']
)
def test_unusable_handler_is_refused_with_examples(text: str):
    """spec.handler must name a single handler."""
    with pytest.raises(SettingError, match="AGENTPOOL_HANDLER"):
        selection.from_spec(text, field="AGENTPOOL_HANDLER")


async def test_a_missing_command_is_reported_before_any_job():
    """A program that is not on PATH is an error at the start of the worker."""
    with pytest.raises(HandlerError, match="no such program"):
        await selection.from_argv(["a-program-nobody-has"]).start()


def test_child_trace_keeps_its_trace_id_under_a_new_span():
    """Forwarded headers belong to the same trace, and an invalid trace header is dropped."""
    parent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=1", "cookie": "secret"}
    child = child_of(parent)
    assert child["traceparent"].startswith(f"00-{'a' * 32}-")
    assert child["traceparent"] != parent["traceparent"]
    assert set(child) == {"traceparent", "tracestate"}
    assert child_of({}) == {}


async def unwanted(how, culprits):
    """An unwanted abandonment fails the test."""
    raise AssertionError(how)


async def test_watchdog_reports_once_per_doubling_and_abandons_at_its_limit(caplog):
    """A block is reported at the threshold and at each doubling; past the limit the worker gives its lease up."""
    async with Bench(App()) as bench:
        watchdog = Watchdog(
            running_jobs=bench.running_jobs,
            metrics=bench.metrics,
            warn_seconds=1.0,
            give_up_seconds=4.0,
            give_up=unwanted,
        )
        with caplog.at_level(logging.WARNING):
            for blocked in (0.5, 1.0, 1.5, 2.1, 3.0, 4.5):
                watchdog.look(blocked)
        reported = [record.levelname for record in caplog.records]
        assert reported == ["ERROR", "ERROR", "ERROR", "CRITICAL"]
        assert watchdog.given_up
        assert bench.metrics.loop_blocks == 1
        watchdog.look(0.0)
        assert not watchdog.given_up
        watchdog.close()


class FakeLeases:
    """A queue that renews, or does not."""

    def __init__(self) -> None:
        self.registered = True
        self.away = False
        self.pool = PoolSettings(lease_ms=100)
        self.renewed: list[tuple[int, str]] = []  # slots and note
        self.recoveries: list[bool] = []  # of each round of maintenance

    async def register(self, *, slots, host):
        self.registered = True
        return self.pool

    async def settings(self):
        return self.pool

    async def renew(self, *, slots, running, note):
        self.renewed.append((slots, note))
        if self.away:
            raise QueueUnreachableError("away")
        return Renewal(settings_revision=self.pool.revision, still_registered=self.registered)

    async def maintain(self, *, recover):
        self.recoveries.append(recover)
        return Maintenance(recovered=int(recover), promoted=0, expired=0, next_due_ms=50)


async def test_heartbeat_reports_lost_leases_and_changed_settings_and_waits_after_an_outage():
    """A late renewal registers again; maintenance recovers no job until different workers could renew too."""
    async with Bench(App()) as bench:
        queue, reported, impediments = FakeLeases(), [], [None]
        watchdog = Watchdog(
            running_jobs=bench.running_jobs,
            metrics=bench.metrics,
            warn_seconds=1.0,
            give_up_seconds=4.0,
            give_up=unwanted,
        )
        heartbeat = Heartbeat(
            queue=queue, slots=bench.slots, metrics=bench.metrics, watchdog=watchdog, settings=queue.pool, host="h",
            lost=lambda: reported.append("lost"), changed=lambda pool: reported.append(pool.concurrency), holdings=dict,
            disagrees=lambda: reported.append("disagrees"), impediment=lambda: impediments[-1],
        )  # fmt: skip
        found = []
        maintenance = MaintenanceLoop(
            queue=queue, heartbeat=heartbeat, metrics=bench.metrics, found=lambda: found.append(1), period_seconds=1.0
        )
        assert await heartbeat.run_once()
        impediments.append("has no descriptors")
        assert await heartbeat.run_once()
        assert queue.renewed == [(4, ""), (0, "has no descriptors")]
        queue.pool = PoolSettings(lease_ms=100, concurrency=77)
        assert await heartbeat.run_once()
        queue.registered = False
        assert await heartbeat.run_once()
        assert reported == [77, "lost"]
        assert bench.metrics.leases_lost == 1
        queue.away = True
        assert not await heartbeat.run_once()
        assert not heartbeat.steady
        await maintenance.run_once()
        queue.away = False
        assert await heartbeat.run_once()
        assert await maintenance.run_once() <= heartbeat.lease_seconds
        assert (queue.recoveries, found) == ([False, False], [])
        await wait_until(lambda: heartbeat.steady, "a lease's time has passed")
        assert await maintenance.run_once() == pytest.approx(0.05)
        assert (queue.recoveries, found) == ([False, False, True], [1])
        watchdog.given_up = True
        assert not await heartbeat.run_once()
        watchdog.close()


async def test_side_loop_goes_on_while_the_jobs_loop_is_blocked():
    """A service in the side loop runs although the event loop of the jobs is blocked, and stops on request."""
    turned, ended = threading.Semaphore(0), []

    async def service() -> None:
        try:
            while True:
                turned.release()
                await asyncio.sleep(0.005)
        finally:
            ended.append(True)

    side = SideLoop((service,))
    side.start()
    for _ in range(5):
        assert turned.acquire(timeout=10)  # the jobs' loop stands still meanwhile
    await side.stop()
    assert ended == [True]


async def test_a_failed_service_raises_in_the_jobs_loop():
    """An error in the side loop reaches the waiting caller in the jobs' loop."""

    async def service() -> None:
        raise SettingError(field="f", value=1, problem="p", remedy="r")

    side = SideLoop((service,))
    side.start()
    with pytest.raises(SettingError):
        await asyncio.wait_for(asyncio.shield(side.failed), 5)
    await side.stop()


class Away:
    """A consumer without Redis for the first calls."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.saved = []

    async def checkpoint(self, lease, state):
        if self.away:
            self.away -= 1
            raise QueueUnreachableError("away")
        self.saved.append(state)

    progress = checkpoint

    async def submit(self, request):
        await self.checkpoint(None, request)
        return request.job_id


async def test_checkpoint_waits_for_redis_and_progress_does_not(monkeypatch):
    """A job runs on while Redis is away: the checkpoint waits for Redis, the progress is sent when Redis answers."""
    monkeypatch.setattr("agentpool_worker.jobs.queue_calls._FIRST_RETRY_SECONDS", 0.001)
    consumer = Away(away=3)
    calls = QueueCalls(consumer, None)
    await calls.progress(lease(), "lost")
    await calls.checkpoint(lease(), "kept")
    assert consumer.saved == ["kept"]


class Output(Away):
    """A consumer that notes the writes of output, and refuses those of job `lost`."""

    async def emit_all(self, emissions):
        await self.checkpoint(None, [(each.lease.job_id, each.first, *each.chunks) for each in emissions])
        return ["stale" if each.lease.job_id == "lost" else "ok" for each in emissions]


async def test_output_of_all_jobs_shares_a_write(monkeypatch):
    """A write that waits for Redis gathers the next ones; a lost lease concerns its job alone; writes are bounded."""
    monkeypatch.setattr("agentpool_worker.jobs.queue_calls._FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr("agentpool_worker.jobs.queue_calls.MAX_WRITE_BYTES", 3)
    consumer = Output(away=2)
    calls = QueueCalls(consumer, None)
    jobs = ["a", "b", "lost", "c"]
    emits = [calls.emit(lease(job_id=job), 1, ["1"]) for job in jobs] + [calls.emit(lease(job_id="a"), 2, ["2"])]
    outcomes = await asyncio.gather(*emits, return_exceptions=True)
    assert [isinstance(outcome, StaleLeaseError) for outcome in outcomes] == [False, False, True, False, False]
    first, rest = [("a", 1, "1"), ("b", 1, "1"), ("lost", 1, "1")], [("c", 1, "1"), ("a", 2, "2")]
    assert consumer.saved == [first, rest]


@pytest.mark.parametrize(("chunks", "seconds"), [(0, 0), (1, 0), (5, 0.002), (1_000, 0.01)])
def test_output_of_many_jobs_gathers_for_a_write(chunks, seconds):
    """A job that emits alone is not held up; a write of many chunks is followed by a pause of at most 10 ms."""
    assert gather_seconds(chunks) == pytest.approx(seconds)


async def test_a_child_waits_for_redis_and_is_submitted_once(monkeypatch):
    """Each retry names the same job, so a lost answer does not cause a second job; the same holds with a key."""
    monkeypatch.setattr("agentpool_worker.jobs.queue_calls._FIRST_RETRY_SECONDS", 0.001)
    producer = Away(away=3)
    asked = []
    calls = QueueCalls(
        None, types.SimpleNamespace(submit=lambda request: asked.append(request) or producer.submit(request))
    )
    job_id = await calls.submit(JobRequest(kind="x"))
    assert [request.job_id for request in asked] == [job_id] * 4
    assert await calls.submit(JobRequest(kind="x", idempotency_key="k")) is None
