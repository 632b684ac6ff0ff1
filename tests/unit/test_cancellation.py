"""Tasks that do not want to end."""

from __future__ import annotations

import asyncio
import gc
import types

import pytest

from agentpool_core.errors import QueueUnreachableError, ResultTimeoutError
from agentpool_core.inbox import Inbox
from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import end, raise_lost, results_of, run_until_first_end


async def test_a_task_that_loses_a_cancellation_is_ended():
    """A blocking read behind Python 3.11's wait_for loses cancellations."""
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end(task)
    assert (lost, task.cancelled()) == (1, True)


async def test_ending_a_task_does_not_raise_the_tasks_error():
    """A failed reader is over; its error is not reported twice."""

    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()


async def test_joined_tasks_end_together_even_deaf_tasks():
    """After a failure or a cancellation, the remaining tasks are cancelled, as often as necessary."""
    ended = []

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("asked once")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("asked again")

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_until_first_end(deaf(), broken())
    assert ended == ["asked once", "asked again"]
    whole = asyncio.create_task(run_until_first_end(deaf(), deaf()))
    await asyncio.sleep(0)
    await end(whole)
    assert (whole.cancelled(), len(ended)) == (True, 6)


async def test_tasks_that_fail_together_leave_no_failure_unseen(unseen_failures):
    """The first error is raised; without a look at the rest, asyncio would log their errors at a later time."""

    async def broken(why: str) -> None:
        raise ValueError(why)

    with pytest.raises(ValueError, match="first"):
        await run_until_first_end(broken("first"), broken("second"))
    gc.collect()
    assert unseen_failures == []


async def test_tasks_that_fail_while_cancelled_leave_no_failure_unseen(unseen_failures):
    """The caller gets the cancellation; errors that the tasks raise at their end are retrieved all the same."""

    async def broken() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("broken as it ended")

    task = asyncio.create_task(run_until_first_end(broken(), broken()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert unseen_failures == []


async def test_a_lost_cancellation_is_raised_before_the_next_try():
    """A task without a cancellation goes on; a task with a swallowed cancellation ends."""
    raise_lost()

    async def tries() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise_lost()

    task = asyncio.create_task(tries())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_wait_for_a_result_ends_in_time_though_its_cancellation_was_lost(monkeypatch: pytest.MonkeyPatch):
    """Redis is away, and the client loses the cancellation of the expired timeout: the wait ends all the same."""
    calls = 0

    async def away(*_: object) -> None:
        nonlocal calls
        calls += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise QueueUnreachableError("away") from None

    monkeypatch.setattr("agentpool_core.inbox.scripts", types.SimpleNamespace(WATCH=types.SimpleNamespace(run=away)))
    with pytest.raises(ResultTimeoutError):
        await Inbox(None, PoolRef.parse("default/p")).result("job", timeout_s=0.01)
    assert calls == 1


async def test_a_wait_for_a_result_ends_in_time_though_its_last_answer_came_with_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
):
    """The answer and the end of the timeout come in the same turn, so the call loses the cancellation."""

    async def late(*_: object) -> list[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ["waiting"]

    monkeypatch.setattr("agentpool_core.inbox.scripts", types.SimpleNamespace(WATCH=types.SimpleNamespace(run=late)))
    inbox, read = Inbox(None, PoolRef.parse("default/p")), []
    monkeypatch.setattr(inbox, "_read_along", lambda: read.append("reads"))
    with pytest.raises(ResultTimeoutError):
        await inbox.result("job", timeout_s=0.01)
    assert read == []


async def test_tasks_return_their_results_in_order_or_raise_the_first_failure():
    """The remaining tasks have ended before a failure is raised, so no task goes on unseen."""
    first, ended = asyncio.Event(), []

    async def number(value: int) -> int:
        if value:
            await first.wait()
        first.set()
        return value

    async def fail() -> None:
        raise LookupError("it is gone")

    async def last() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("last")

    assert await results_of(number(value) for value in (1, 0, 2)) == [1, 0, 2]
    assert await results_of(()) == []
    with pytest.raises(LookupError, match="it is gone"):
        await results_of((last(), fail()))
    assert ended == ["last"]
