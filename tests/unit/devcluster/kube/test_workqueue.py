"""The queue of keys."""

from __future__ import annotations

import asyncio

from agentpool_devcluster.kube.errors import ConflictError
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.kube.workqueue import WorkQueue


async def run_until(queue, reconcile, done):
    task = asyncio.create_task(queue.run(reconcile, workers=2))
    async with asyncio.timeout(5):
        await done.wait()
    await cancel_and_wait(task)


async def test_a_key_added_many_times_is_worked_on_once():
    """Keys that wait are not added twice."""
    queue, seen, done = WorkQueue("test"), [], asyncio.Event()
    for key in ("a", "a", "b", "a"):
        queue.add(key)

    async def reconcile(key):
        seen.append(key)
        if len(seen) == 2:
            done.set()

    await run_until(queue, reconcile, done)
    assert sorted(seen) == ["a", "b"]


async def test_a_key_added_during_its_pass_gets_a_second_pass():
    """A change during a pass causes a second pass, after the first."""
    queue, active, passes, done = WorkQueue("test"), 0, 0, asyncio.Event()
    queue.add("a")

    async def reconcile(key):
        nonlocal active, passes
        active += 1
        assert active == 1
        passes += 1
        if passes == 1:
            queue.add("a")
            queue.add("a")
            await asyncio.sleep(0)
        else:
            done.set()
        active -= 1

    await run_until(queue, reconcile, done)
    assert passes == 2


async def test_a_failed_key_is_retried():
    """A conflict leads to a retry."""
    queue, tries, done = WorkQueue("test"), 0, asyncio.Event()
    queue.add("a")

    async def reconcile(key):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConflictError(code=409, reason="Conflict", message="it changed")
        done.set()

    await run_until(queue, reconcile, done)
    assert tries == 3
