"""Outcomes of a single attempt for any handler, without harm to different attempts."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime

import pytest

from agentpool_core.errors import InvalidJobError, StaleLeaseError
from agentpool_core.queue.codec.leases import arguments
from agentpool_core.queue.completions import Cancelled, Failed, Returned, ReturnReason, Succeeded
from agentpool_worker import App, Overloaded, Permanent, Retry
from agentpool_worker.context import Context
from agentpool_worker.jobs.execution import Stop
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, is_deadline, lease

app = App()


@app.handler("ok")
async def ok(payload, ctx):
    return "fine"


@app.handler("refused")
async def refused(payload, ctx):
    raise StaleLeaseError(ctx.job_id if payload else "another", 1)


@app.handler("branches")
async def branches(payload, ctx):
    """Two branches of a task group, one after the other in vain."""
    error = {"never": Permanent("no such file"), "busy": Overloaded(after_seconds=2), "value": ValueError("bad")}

    async def fail(name):
        raise error[name]

    async with asyncio.TaskGroup() as group:
        group.create_task(fail("value"))
        if payload == "yield":
            ctx.yielding = True
            group.create_task(ctx.checkpoint({"at": 1}))
        else:
            group.create_task(fail(payload))


@app.handler("until")
async def until(payload, ctx):
    return ctx.deadline.isoformat(), ctx.remaining_seconds


class Wordless(Retry):
    def __str__(self) -> str:
        raise RecursionError("it has no words")


@app.handler("raise")
async def raise_error(payload, ctx):
    raise {"value": ValueError("bad input"), "exit": SystemExit(3), "key": KeyboardInterrupt(),
           "retry": Retry("not yet", after_seconds=1.5), "never": Permanent("no such file"),
           "busy": Overloaded(after_seconds=2), "cancel": asyncio.CancelledError(),
           "wordless": Wordless()}[payload]  # fmt: skip


odd = App()  # handlers with outcomes that cannot be shown or stored


@odd.handler("ok")
async def ok_too(payload, ctx):
    return "fine"


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise SpeechlessError


class Detached:
    def __repr__(self) -> str:
        raise RuntimeError("Instance is not bound to a Session")


@odd.handler("speechless")
async def speechless(payload, ctx):
    raise SpeechlessError


@odd.handler("detached")
async def detached(payload, ctx):
    return [Detached()]


@odd.handler("deep")
async def deep(payload, ctx):
    value = None
    for _ in range(1_500):
        value = {"a": value}
    return value


@odd.handler("not-utf-8")
async def not_utf_8(payload, ctx):
    raise RuntimeError("cannot parse caf\udce9.pdf")


@app.handler("retry-in")
async def retry_in(payload, ctx):
    raise Overloaded(after_seconds={"never": float("inf"), "not a number": float("nan"), "word": "soon"}[payload])


@app.handler("exit-in-thread")
def exit_in_thread(payload, ctx):
    sys.exit(7)


@app.handler("hang")
async def hang(payload, ctx):
    await asyncio.Event().wait()


@app.handler("stubborn")
async def stubborn(payload, ctx):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(30)


@app.handler("finishes-on-cancel")
async def finishes_on_cancel(payload, ctx):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return "tidied up"


@app.handler("steps")
async def steps(payload, ctx):
    for step in range(ctx.state or 0, 1000):
        await ctx.checkpoint(step)
        await asyncio.sleep(0.001)


@app.handler("saves-in-its-grace")
async def save_in_grace(payload, ctx):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await ctx.checkpoint("saved in its grace")
        raise


@pytest.mark.parametrize(
    ("what", "error", "retry", "after_ms"),
    [
        ("value", "ValueError: bad input", True, None),
        ("exit", "SystemExit: 3", True, None),
        ("key", "KeyboardInterrupt", True, None),
        ("retry", "Retry: not yet", True, 1500),
        ("never", "Permanent: no such file", False, None),
        ("cancel", "asyncio.exceptions.CancelledError", True, None),
        ("wordless", "RecursionError: it has no words", True, None),
    ],
)
async def test_any_exception_of_a_handler_fails_only_its_job(what, error, retry, after_ms):
    """Any exception, SystemExit and KeyboardInterrupt included, ends the job, and the next job runs."""
    async with Bench(app, slots=1) as bench:
        bench.submit(lease("raise", what), lease("ok", number=2))
        failed, succeeded = await bench.settled(2)
    assert isinstance(failed, Failed)
    assert failed.error.startswith(error)
    assert (failed.retry, failed.retry_after_ms) == (retry, after_ms)
    assert isinstance(succeeded, Succeeded)


def refusal_of(completion):
    """The error with which the queue refuses a completion, before any request."""
    try:
        arguments([completion])
    except InvalidJobError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("kind", "error", "retry"),
    [
        ("speechless", f"{__name__}.SpeechlessError: <exception str() failed>", True),
        ("detached", "the handler returned a result that cannot be stored: InvalidJobError: result[0]: ", False),
        ("deep", "the handler returned a result that cannot be stored: PayloadTooDeepError: result: ", False),
        ("not-utf-8", "RuntimeError: cannot parse caf\\udce9.pdf", True),
    ],
)
async def test_an_unshowable_outcome_fails_only_its_job(kind, error, retry):
    """The error path does not raise: the job has a storable reason, and the next job runs."""
    async with Bench(odd, slots=2) as bench:
        bench.queue.refuse = refusal_of
        bench.submit(lease(kind), lease("ok", number=2))
        ended = {completion.job_id: completion for completion in await bench.settled(2)}
    failed, succeeded = ended["job-1"], ended["job-2"]
    assert failed.error.startswith(error)
    failed.error.encode()
    assert failed.retry is retry
    assert isinstance(succeeded, Succeeded)


@pytest.mark.parametrize("payload", ["never", "not a number", "word"])
async def test_a_wait_that_is_no_number_fails_the_attempt_and_frees_the_slot(payload):
    """No wait of a handler costs the worker a slot; the error shows the value."""
    async with Bench(app, slots=1) as bench:
        bench.submit(lease("retry-in", payload), lease("ok", number=2))
        failed, succeeded = await bench.settled(2)
    assert failed.error.startswith("ValueError: after_seconds: ")
    assert "a number of seconds" in failed.error
    assert isinstance(succeeded, Succeeded)


async def test_a_handler_knows_when_its_attempt_times_out():
    """The deadline is the begin of the attempt plus its timeout, in UTC; the remaining time never falls below 0."""
    since = datetime.now(UTC)
    async with Bench(app) as bench:
        bench.submit(lease("until", timeout_ms=3_600_000))
        (completion,) = await bench.settled(1)
        late = Context(lease(), bench.queue, stop_at=time.monotonic() - 5)
    deadline, remaining = completion.result
    assert is_deadline(deadline, since=since, timeout_ms=3_600_000)
    assert 3_000 < remaining <= 3_600
    assert late.remaining_seconds == 0.0


async def test_an_overloaded_handler_defers_its_job_without_an_attempt():
    """Overload is no failure: the job is offered again after the handler's time, and the worker gets a signal."""
    async with Bench(app) as bench:
        bench.submit(lease("raise", "busy"))
        (completion,) = await bench.settled(1)
    busy, said = ReturnReason.OVERLOADED, "the handler is overloaded"
    assert completion == Returned(job_id="job-1", token=1, reason=busy, after_ms=2000, said=said)
    assert bench.overloads == 1


@pytest.mark.parametrize(("kind", "handler"), [("raise", raise_error), ("exit-in-thread", exit_in_thread)])
async def test_the_error_text_shows_lines_of_the_handler_only(kind, handler):
    """The text has the error first, then the place in the handler; the same holds in a thread."""
    async with Bench(app) as bench:
        bench.submit(lease(kind, "value"))
        (failed,) = await bench.settled(1)
    assert f"in {handler.__name__}" in failed.error
    assert "agentpool_worker" not in failed.error


async def test_sys_exit_in_a_thread_fails_the_job():
    """A sync handler that calls sys.exit ends the job, not the worker."""
    async with Bench(app) as bench:
        bench.submit(lease("exit-in-thread"), lease("ok", number=2))
        settled = {type(completion) for completion in await bench.settled(2)}
    assert settled == {Failed, Succeeded}


async def test_a_job_of_an_unknown_kind_is_deferred_and_names_the_known_kinds():
    """The job waits for a worker with a handler; the message lists the kinds of this worker."""
    async with Bench(app) as bench:
        bench.submit(lease("mystery"))
        (returned,) = await bench.settled(1)
    assert returned.reason is ReturnReason.UNKNOWN_KIND
    assert "'mystery'" in returned.said
    assert "hang, ok, raise" in returned.said.replace("exit-in-thread, finishes-on-cancel, ", "")


async def test_job_that_runs_too_long_is_cancelled_and_may_be_retried():
    """An attempt's timeout cancels the handler and fails the attempt."""
    async with Bench(app) as bench:
        bench.submit(lease("hang", timeout_ms=30))
        (failed,) = await bench.settled(1)
    assert isinstance(failed, Failed)
    assert failed.retry
    assert "longer than 0.03 s" in failed.error
    assert bench.slots.used == 0


@pytest.mark.parametrize("asked", ["before", "after"])
async def test_a_checkpoint_in_the_grace_of_a_timeout_is_saved_and_the_attempt_still_fails(asked):
    """A timeout after a request to yield is a timeout: the attempt counts."""
    async with Bench(app, grace_seconds=10) as bench:
        bench.submit(lease("saves-in-its-grace", timeout_ms=60_000))
        await wait_until(lambda: bench.running_jobs.running, "the job runs")
        (execution,) = bench.running_jobs.running
        await asyncio.sleep(0)
        if asked == "before":
            execution.ask_to_yield(ReturnReason.PREEMPTED)
        bench.running_jobs.stop(execution, Stop.TIMEOUT)
        if asked == "after":
            execution.ask_to_yield(ReturnReason.PREEMPTED)
        (failed,) = await bench.settled(1)
    assert isinstance(failed, Failed)
    assert failed.error.startswith("timeout: ")
    assert bench.queue.saved == [("job-1", "saved in its grace")]


async def test_a_short_timeout_ends_before_an_earlier_longer_timeout():
    """The single timer is set again when a job with an earlier deadline starts."""
    async with Bench(app) as bench:
        bench.submit(lease("hang", timeout_ms=60_000))
        bench.submit(lease("hang", timeout_ms=30, number=2))
        (failed,) = await bench.settled(1)
    assert failed.job_id == "job-2"


async def test_a_handler_that_swallows_its_cancellation_is_abandoned_after_its_grace():
    """A handler that does not stop loses its job and its slot; the worker goes on."""
    async with Bench(app, slots=1, grace_seconds=0.05) as bench:
        bench.submit(lease("stubborn", timeout_ms=20), lease("ok", number=2))
        failed, succeeded = await bench.settled(2)
        assert isinstance(failed, Failed)
        assert isinstance(succeeded, Succeeded)
        assert bench.metrics.abandoned == 1


async def test_a_cancelled_job_is_settled_as_cancelled():
    """A cancel order stops the handler, and the completion is Cancelled."""
    async with Bench(app) as bench:
        bench.submit(lease("hang"))
        await wait_until(lambda: bench.running_jobs.running, "the job runs")
        (execution,) = bench.running_jobs.running
        bench.running_jobs.stop(execution, Stop.CANCELLED)
        (cancelled,) = await bench.settled(1)
    assert isinstance(cancelled, Cancelled)
    assert execution.ctx.cancelled


async def test_job_stopped_before_its_first_step_ends_at_once():
    """A stop in the very turn of the event loop that starts the job needs no grace."""
    async with Bench(app, grace_seconds=600) as bench:
        bench.running_jobs.start([lease("hang")])
        bench.running_jobs.stop_all(Stop.DRAIN)
        (returned,) = await bench.settled(1)
    assert isinstance(returned, Returned)


async def test_drained_job_that_ends_in_its_grace_has_succeeded():
    """The return value counts although the drain had asked the handler to stop."""
    async with Bench(app) as bench:
        bench.submit(lease("finishes-on-cancel"), lease("hang", number=2))
        await wait_until(lambda: len(bench.running_jobs.running) == 2, "both jobs run")
        bench.claims.stop_claiming()
        bench.running_jobs.stop_all(Stop.DRAIN)
        by_job = {completion.job_id: completion for completion in await bench.settled(2)}
    assert by_job["job-1"].result == "tidied up"
    assert by_job["job-2"] == Returned(job_id="job-2", token=1, reason=ReturnReason.DRAIN)


async def test_a_job_asked_to_yield_is_requeued_with_its_state_at_the_next_checkpoint():
    """A yield order takes effect at a checkpoint, and the state is requeued with the job."""
    async with Bench(app) as bench:
        bench.submit(lease("steps", checkpoint=7))
        await wait_until(lambda: len(bench.queue.saved) > 3, "some checkpoints are saved")
        (execution,) = bench.running_jobs.running
        execution.ask_to_yield(ReturnReason.PREEMPTED)
        (returned,) = await bench.settled(1)
    assert isinstance(returned, Returned)
    assert returned.reason is ReturnReason.PREEMPTED
    assert returned.checkpoint >= 10
    assert bench.queue.saved[0] == ("job-1", 7)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("never", ("Permanent: no such file", False)),
        ("value", ("ExceptionGroup: unhandled errors in a TaskGroup", True)),
    ],
)
async def test_the_error_of_a_branch_decides_on_the_job(payload, expected):
    """A task group wraps its errors, and hides none that decides on the job."""
    async with Bench(app) as bench:
        bench.submit(lease("branches", payload))
        (completion,) = await bench.settled(1)
    assert completion.error.startswith(expected[0])
    assert completion.retry == expected[1]


@pytest.mark.parametrize(("payload", "reason"), [("yield", ReturnReason.PREEMPTED), ("busy", ReturnReason.OVERLOADED)])
async def test_a_branch_may_requeue_its_job(payload, reason):
    """A checkpoint in a branch of a job that yields, or an overload, counts no attempt."""
    async with Bench(app) as bench:
        bench.submit(lease("branches", payload))
        (completion,) = await bench.settled(1)
    assert isinstance(completion, Returned), completion
    assert completion.reason is reason


async def test_a_job_whose_lease_was_lost_is_stopped_and_reports_nothing():
    """The end counts as stale and is not sent: the queue may have leased the job again under the same token."""
    async with Bench(app) as bench:
        bench.submit(lease("hang"))
        await wait_until(lambda: bench.running_jobs.running, "the job runs")
        assert bench.running_jobs.stop_all(Stop.LEASE_LOST) == 1
        await bench.running_jobs.wait_empty()
        assert bench.metrics.outcomes() == {"stale": 1}
    assert bench.queue.settled == []


async def test_an_attempt_whose_checkpoint_was_refused_reports_nothing():
    """The lease is lost for the attempt; a lost lease of a different job is an ordinary error."""
    async with Bench(app) as bench:
        bench.submit(lease("refused", payload=True))
        await wait_until(lambda: bench.metrics.outcomes() == {"stale": 1}, "the end is counted")
        assert bench.queue.settled == []
        bench.submit(lease("refused", payload=False))
        (failed,) = await bench.settled(1)
    assert isinstance(failed, Failed)


async def test_only_the_disowned_attempt_is_stopped():
    """A job without a lease of this worker is stopped; a second job ends as usual."""
    async with Bench(app) as bench:
        bench.submit(lease("hang"))
        await wait_until(lambda: bench.running_jobs.running, "the job runs")
        (execution,) = bench.running_jobs.running
        bench.running_jobs.disown([(execution.lease.job_id, execution.lease.token + 1)])
        assert execution.stop is None
        bench.running_jobs.disown([(execution.lease.job_id, execution.lease.token)])
        await bench.running_jobs.wait_empty()
    assert bench.queue.settled == []
