"""Tasks that do not want to end."""

from __future__ import annotations

import asyncio

from agentpool.cancellation import end


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same():
    """As a blocking read behind Python 3.11's wait_for does."""
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


async def test_what_the_task_raised_is_not_the_enders_problem():
    """A reader that broke is over; its error is not told twice."""

    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()
