"""A loader of credentials in a thread of its own, cancelled at odd moments."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentpool_core.kube.plugins import run_limited


async def test_a_call_that_is_cancelled_before_its_thread_starts_closes_its_loop():
    """All threads are busy; an unclosed loop is a ResourceWarning, which fails this test."""
    free = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        busy = threads.submit(free.wait)
        asking = asyncio.create_task(run_limited(_never, seconds=60))
        await asyncio.sleep(0)  # the call waits for a thread
        for _ in range(2):
            asking.cancel()
            await asyncio.sleep(0)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert busy.result()
    gc.collect()


async def _never() -> None:
    await asyncio.Event().wait()
