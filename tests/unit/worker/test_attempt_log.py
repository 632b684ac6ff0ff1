"""Lines of the worker's log about failed attempts."""

from __future__ import annotations

import logging

import pytest

from agentpool_core.queue.completions import Failed, Returned, ReturnReason, SettleOutcome, Succeeded
from agentpool_worker import App, Overloaded, Permanent
from agentpool_worker.jobs.attempt_log import LINES_A_WINDOW, FailureLog
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, lease

app = App()


@app.handler("fails")
async def fails(payload):
    raise ValueError(f"no such page: {payload}\nand a second line")


@app.handler("never")
async def never(payload):
    raise Permanent("no such file")


@app.handler("busy")
async def busy(payload):
    raise Overloaded("the model is busy")


@app.handler("not-json")
async def not_json(payload):
    return "unfit"


@app.handler("grouped")
async def grouped(payload):
    error = ExceptionGroup("two tools failed", [ValueError("a"), KeyError("b")])
    error.add_note("asked for by a note")
    raise error


@pytest.fixture
def failure_lines(caplog):
    """The lines of the failure log so far."""
    caplog.set_level(logging.INFO, logger="agentpool_worker.jobs.attempt_log")
    return lambda: [record for record in caplog.records if record.name == "agentpool_worker.jobs.attempt_log"]


async def run(*leases, refuse=lambda _completion: None):
    async with Bench(app) as bench:
        bench.queue.refuse = refuse
        bench.submit(*leases)
        await bench.settled(len(leases))
        await wait_until(lambda: bench.buffer.undelivered == 0, "the outcomes are in")
        return bench


async def test_each_failed_attempt_is_a_single_line_with_its_outcome(failure_lines):
    """Job, kind, attempt, retry or dead, class and first line of the error, as text and as fields; no traceback."""
    await run(
        lease("fails", 7, attempt=2), lease("never", number=2), lease("mystery", number=3), lease("busy", number=4)
    )
    lines = {record.job_id: record for record in failure_lines()}
    assert len(failure_lines()) == 4
    assert lines["job-1"].getMessage() == (
        "job job-1 (fails): attempt 2 of 5 failed and is retried: ValueError: no such page: 7"
    )
    fields = ("kind", "attempt", "max_attempts", "outcome", "error")
    assert [getattr(lines["job-1"], field) for field in fields] == [
        "fails", 2, 5, "retry", "ValueError: no such page: 7",
    ]  # fmt: skip
    assert lines["job-2"].getMessage().endswith("failed for good: a dead letter: Permanent: no such file")
    assert "no handler for kind 'mystery'" in lines["job-3"].getMessage()
    assert lines["job-4"].getMessage().endswith("is deferred and does not count: the model is busy")
    assert [lines[f"job-{n}"].levelname for n in (1, 2, 3, 4)] == ["WARNING", "ERROR", "INFO", "INFO"]
    assert all(record.exc_info is None for record in failure_lines())


async def test_an_unstorable_result_is_logged_too(failure_lines):
    """A result that the queue refuses makes a failed attempt like any failure."""

    def refuse(completion):
        return TypeError("not JSON") if isinstance(completion, Succeeded) else None

    await run(lease("not-json"), refuse=refuse)
    (line,) = failure_lines()
    assert "returned a result that cannot be stored: TypeError: not JSON" in line.getMessage()


async def test_an_error_with_notes_or_of_a_group_begins_with_its_message(failure_lines):
    """Neither the frame of a group nor a note hides the error's line; the record has them."""
    bench = await run(lease("grouped"))
    (line,) = failure_lines()
    assert line.error == "ExceptionGroup: two tools failed (2 sub-exceptions)"
    assert "asked for by a note" in bench.queue.settled[0].error
    assert "KeyError" in bench.queue.settled[0].error


async def test_an_error_as_long_as_a_page_keeps_its_beginning_and_its_traceback():
    """The record keeps the first words of the error and the handler's lines."""
    bench = await run(lease("fails", "x" * 50_000))
    error = bench.queue.settled[0].error
    assert error.startswith("ValueError: no such page: xxx")
    assert "in fails" in error
    assert len(error) < 8_192


async def test_whole_errors_are_logged_at_debug(failure_lines, caplog):
    """The level debug adds the traceback to the line."""
    caplog.set_level(logging.DEBUG, logger="agentpool_worker.jobs.attempt_log")
    await run(lease("fails", 7))
    assert [record.levelname for record in failure_lines()] == ["WARNING", "DEBUG"]
    assert "Traceback" in failure_lines()[1].getMessage()


def _settle(failures, count, *, kind="fails", outcome=SettleOutcome.RETRYING, error="boom"):
    leases = [lease(kind, number=number) for number in range(count)]
    failed = [Failed(job_id=each.job_id, token=each.token, error=error) for each in leases]
    failures.record(leases, failed, [outcome] * count)


async def test_a_handler_that_always_fails_does_not_drown_the_log(failure_lines):
    """For each kind and outcome some lines are written; the rest is counted, and reported at the end of the window."""
    failures = FailureLog(window_seconds=0.05)
    _settle(failures, LINES_A_WINDOW + 300)
    _settle(failures, 1, kind="rare")
    _settle(failures, 1, outcome=SettleOutcome.DEAD)
    assert len(failure_lines()) == LINES_A_WINDOW + 2
    await wait_until(lambda: len(failure_lines()) == LINES_A_WINDOW + 3, "the window has ended")
    assert (
        failure_lines()[-1].getMessage() == "fails: 300 more attempts, not shown, of which each failed and is retried"
    )
    assert (failure_lines()[-1].kind, failure_lines()[-1].outcome, failure_lines()[-1].not_shown) == (
        "fails",
        "retry",
        300,
    )
    _settle(failures, LINES_A_WINDOW + 1)
    failures.close()
    assert [record.not_shown for record in failure_lines() if hasattr(record, "not_shown")] == [300, 1]
    assert len(failure_lines()) == 2 * LINES_A_WINDOW + 4


async def test_kinds_without_end_share_a_window(failure_lines):
    """Submitters choose kinds freely: beyond fifty they are counted together."""
    failures = FailureLog()
    for number in range(200):
        _settle(failures, 1, kind=f"kind-{number}")
    failures.close()
    assert len(failure_lines()) == 50 + LINES_A_WINDOW + 1
    assert failure_lines()[-1].kind == "other kinds"


async def test_requeued_and_refused_attempts_are_no_failure(failure_lines):
    """Drains, preemptions, cancels and stale results leave no line here: different modules report them."""
    drained = Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN)
    failed = Failed(job_id="job-1", token=1, error="boom")
    failures = FailureLog()
    outcomes = (SettleOutcome.RETURNED, SettleOutcome.STALE, SettleOutcome.CANCELLED)
    failures.record([lease()] * 3, [drained, failed, failed], outcomes)
    failures.close()
    assert failure_lines() == []


async def test_a_programs_standard_error_is_in_the_line(failure_lines):
    """If the first line only introduces a program's standard error, the last line of that output is shown too."""
    failures = FailureLog()
    _settle(
        failures, 1, error="CommandFailedError: exited with 1; its standard error ends:\nTraceback\nKeyError: 'x'\n"
    )
    failures.close()
    assert failure_lines()[0].error == "CommandFailedError: exited with 1; its standard error ends: … KeyError: 'x'"
