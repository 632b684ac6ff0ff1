"""The soak ends with its load or its worker, and its bars find a leak and an idle worker."""

from __future__ import annotations

import asyncio
import os
import signal
import types
from collections.abc import AsyncIterator

import psutil
import pytest

from agentpool_core.errors import QueueUnreachableError
from bench import soak
from tests.fixtures.redis import wait_until


class Place:
    """A stage with this supervisor; Redis or the worker may be lost."""

    def __init__(self, *, lost: bool = False, pid: int) -> None:
        self.pids = [pid]
        self._lost = lost
        self.producer = types.SimpleNamespace(submit_many=self._submit_many)
        self.submitted = 0

    async def left(self) -> int:
        if self._lost:
            raise QueueUnreachableError("away")
        return 0

    async def finished(self) -> int:
        return self.submitted

    async def _submit_many(self, requests) -> None:
        self.submitted += len(requests)


@pytest.fixture
async def supervisor() -> AsyncIterator[int]:
    """The process id of a process with a single child, like a worker's supervisor."""
    process = await asyncio.create_subprocess_exec("sh", "-c", "sleep 600 & wait", start_new_session=True)
    try:
        await wait_until(psutil.Process(process.pid).children, "the child runs")
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_a_lost_load_or_worker_ends_the_run(supervisor: int):
    """A run returns no figures after the death of its load or worker."""
    with pytest.raises(QueueUnreachableError):
        await soak.under_load(Place(lost=True, pid=supervisor), seconds=60)
    with pytest.raises(psutil.NoSuchProcess):
        await soak.under_load(Place(pid=2**22 + 1), seconds=0.1)


async def test_a_loaded_worker_is_sampled_until_the_end(supervisor: int):
    """Each sample has memory, files and jobs."""
    samples = await soak.under_load(place := Place(pid=supervisor), seconds=0.5)
    assert len(samples) == soak.SAMPLES
    assert samples[-1].done == place.submitted > 0
    assert samples[0].memory_mib > 0.1
    assert samples[0].files > 0


@pytest.mark.parametrize(
    ("grows_mib", "opens", "ends", "short"),
    [
        (0.0, 0, 250, None),
        (3.0, 0, 250, "memory"),
        (0.0, 4, 250, "open files"),
        (0.0, 0, 0, "jobs a second"),
    ],
)
def test_a_slow_leak_and_an_idle_worker_fall_short(grows_mib, opens, ends, short):
    """Three MiB over the run, four files, or jobs that stop half-way: each fails a different bar."""
    samples = [
        soak.Sample(
            at_s=float(second),
            memory_mib=63 + grows_mib * second / 900,
            files=28 + opens * second // 900,
            done=250 * min(second, 450) + ends * max(0, second - 450),
        )
        for second in range(0, 901, 10)
    ]
    report = soak.report(samples, seconds=900)
    assert report.holds == (short is None)
    fell = [name for name, least in report.required.items() if report.ratios[name] < least]
    assert [name.startswith(short) for name in fell] == ([True] if short else [])
