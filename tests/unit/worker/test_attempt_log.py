"""What the worker's log says of attempts that failed."""

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
def told(caplog):
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


async def test_each_failed_attempt_is_one_line_that_says_what_follows(told):
    """Job, kind, attempt, retry or dead, class and first line of the error: as text and as fields; no traceback."""
    await run(
        lease("fails", 7, attempt=2), lease("never", number=2), lease("mystery", number=3), lease("busy", number=4)
    )
    lines = {record.job_id: record for record in told()}
    assert len(told()) == 4
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
    assert all(record.exc_info is None for record in told())


async def test_a_result_that_cannot_be_kept_is_told_too(told):
    """The failure that takes the place of an unfit completion is a failed attempt like any other."""

    def refuse(completion):
        return TypeError("not JSON") if isinstance(completion, Succeeded) else None

    await run(lease("not-json"), refuse=refuse)
    (line,) = told()
    assert "returned a result that cannot be stored: TypeError: not JSON" in line.getMessage()


async def test_an_error_with_notes_or_of_many_begins_with_itself(told):
    """A group's frame, or a note, does not hide the error's own line; the record has them."""
    bench = await run(lease("grouped"))
    (line,) = told()
    assert line.error == "ExceptionGroup: two tools failed (2 sub-exceptions)"
    assert "asked for by a note" in bench.queue.settled[0].error
    assert "KeyError" in bench.queue.settled[0].error


async def test_an_error_as_long_as_a_page_keeps_its_beginning_and_its_traceback():
    """What a record keeps of an error holds the error's first words and the handler's lines."""
    bench = await run(lease("fails", "x" * 50_000))
    error = bench.queue.settled[0].error
    assert error.startswith("ValueError: no such page: xxx")
    assert "in fails" in error
    assert len(error) < 8_192


async def test_whole_errors_are_logged_at_debug(told, caplog):
    """Who asks for debug sees the traceback beside the line."""
    caplog.set_level(logging.DEBUG, logger="agentpool_worker.jobs.attempt_log")
    await run(lease("fails", 7))
    assert [record.levelname for record in told()] == ["WARNING", "DEBUG"]
    assert "Traceback" in told()[1].getMessage()


def _settle(failures, count, *, kind="fails", outcome=SettleOutcome.RETRYING, error="boom"):
    leases = [lease(kind, number=number) for number in range(count)]
    failed = [Failed(job_id=each.job_id, token=each.token, error=error) for each in leases]
    failures.record(leases, failed, [outcome] * count)


async def test_a_handler_that_always_fails_does_not_drown_the_log(told):
    """Of each kind and outcome some lines are written; the others are counted, and told when the window ends."""
    failures = FailureLog(window_seconds=0.05)
    _settle(failures, LINES_A_WINDOW + 300)
    _settle(failures, 1, kind="rare")
    _settle(failures, 1, outcome=SettleOutcome.DEAD)
    assert len(told()) == LINES_A_WINDOW + 2
    await wait_until(lambda: len(told()) == LINES_A_WINDOW + 3, "the window has ended")
    assert told()[-1].getMessage() == "fails: 300 more attempts, not shown, of which each failed and is retried"
    assert (told()[-1].kind, told()[-1].outcome, told()[-1].not_shown) == ("fails", "retry", 300)
    _settle(failures, LINES_A_WINDOW + 1)
    failures.close()
    assert [record.not_shown for record in told() if hasattr(record, "not_shown")] == [300, 1]
    assert len(told()) == 2 * LINES_A_WINDOW + 4


async def test_kinds_without_end_share_a_window(told):
    """Submitters choose kinds freely: beyond fifty they are counted together."""
    failures = FailureLog()
    for number in range(200):
        _settle(failures, 1, kind=f"kind-{number}")
    failures.close()
    assert len(told()) == 50 + LINES_A_WINDOW + 1
    assert told()[-1].kind == "other kinds"


async def test_what_is_handed_back_or_refused_is_no_failure(told):
    """Drains, preemptions, cancels and stale finishes leave no line here: others tell of them."""
    drained = Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN)
    failed = Failed(job_id="job-1", token=1, error="boom")
    failures = FailureLog()
    outcomes = (SettleOutcome.RETURNED, SettleOutcome.STALE, SettleOutcome.CANCELLED)
    failures.record([lease()] * 3, [drained, failed, failed], outcomes)
    failures.close()
    assert told() == []


async def test_a_programs_standard_error_is_in_the_line(told):
    """Where the first line only leads up to a program's standard error, the last of it is shown too."""
    failures = FailureLog()
    _settle(
        failures, 1, error="CommandFailedError: exited with 1; its standard error ends:\nTraceback\nKeyError: 'x'\n"
    )
    failures.close()
    assert told()[0].error == "CommandFailedError: exited with 1; its standard error ends: … KeyError: 'x'"
