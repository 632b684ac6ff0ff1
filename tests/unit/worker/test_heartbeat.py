"""The end of the heartbeat: a renewal does not register a worker that released its lease."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from agentpool_core.errors import UnknownPoolError
from agentpool_core.queue.completions import Renewal
from agentpool_core.queue.settings import PoolSettings
from agentpool_worker.lease.heartbeat import Heartbeat
from agentpool_worker.lease.side_loop import SideLoop


class Queue:
    """A queue that reports a lost lease, and answers when the test permits."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.registered = 0

    async def renew(self, *, slots, running, note):
        self.asked.set()
        await self.answer.wait()
        return Renewal(settings_revision=PoolSettings().revision, still_registered=False)

    async def register(self, *, slots, host):
        self.registered += 1
        return PoolSettings()


@pytest.fixture
def queue():
    """The queue of the heartbeat."""
    return Queue()


@pytest.fixture
def heartbeat(queue):
    """A heartbeat that has not begun."""
    return Heartbeat(
        queue=queue,
        slots=SimpleNamespace(total=1, jobs=0, used=0),
        metrics=SimpleNamespace(renewals=0, renewal_failures=0, leases_lost=0),
        watchdog=SimpleNamespace(given_up=False),
        impediment=lambda: None,
        settings=PoolSettings(),
        host="h",
        lost=lambda: None,
        changed=lambda _: None,
        holdings=dict,
        disagrees=lambda: None,
    )


async def test_a_retired_heartbeat_sends_no_request(queue, heartbeat):
    """A renewal after the release would find the lease lost and register the worker again."""
    await heartbeat.retire()
    await heartbeat.run_once()
    assert not queue.asked.is_set()


async def test_retiring_waits_for_the_renewal_in_flight(queue, heartbeat):
    """The lease stays until the answer arrives; the answer has no effect."""
    renewing = asyncio.create_task(heartbeat.run_once())
    await queue.asked.wait()
    retiring = asyncio.create_task(heartbeat.retire())
    await asyncio.sleep(0)
    assert not retiring.done()
    queue.answer.set()
    async with asyncio.timeout(10):
        await asyncio.gather(renewing, retiring)
    assert queue.registered == 0


async def test_a_lost_lease_is_reported_once_however_often_registering_fails(queue, heartbeat, caplog):
    """Without an operator's settings each try is refused, twice a second."""

    async def unknown(*, slots, host):
        queue.registered += 1
        raise UnknownPoolError("a/pool")

    queue.register = unknown
    queue.answer.set()
    for _ in range(3):
        assert not await heartbeat.run_once()
    assert queue.registered == 3
    assert caplog.text.count("the lease ran out") == 1


async def test_a_side_loop_answers_while_it_runs_and_not_after():
    """A caller of a finished side loop does not wait."""
    asked = []

    async def forever():
        await asyncio.get_running_loop().create_future()

    async def question():
        asked.append(1)

    side = SideLoop((forever,))
    await side.ask(question)
    side.start()
    async with asyncio.timeout(10):
        while not asked:
            await side.ask(question)
            await asyncio.sleep(0)
    await side.stop()
    await side.ask(question)
    assert asked == [1]
