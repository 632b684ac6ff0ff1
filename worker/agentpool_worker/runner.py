"""A worker as a process: the fastest event loop there is, signals, and an end that nothing can hold up.

SystemExit or KeyboardInterrupt raised in a task that a handler has started on its own would end the event loop:
the loop is taken up again where it was. Threads that a handler left hanging would keep the process alive after the
worker has left: the process ends without them.
Who takes over next: the shell, the kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_worker.worker import Worker

log = logging.getLogger(__name__)

_TIDY_SECONDS = 1.0  # for generators and threads that handlers left behind


def run_process(worker: Worker) -> None:
    """Runs the worker until it has left. Raises what `Worker.run` raises."""
    worker.ends_process = True
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.leave)
    try:
        _run_to_end(loop, loop.create_task(worker.run()))
    finally:
        with contextlib.suppress(RuntimeError, TimeoutError):
            loop.run_until_complete(asyncio.wait_for(_tidy(loop), _TIDY_SECONDS))
        loop.close()
    _end_without_stragglers()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run_to_end(loop: asyncio.AbstractEventLoop, life: asyncio.Task[None]) -> None:
    while True:
        try:
            return loop.run_until_complete(life)
        except (SystemExit, KeyboardInterrupt) as error:
            if life.done():
                raise
            log.error("a handler's own task raised %s; the worker goes on", type(error).__name__)  # noqa: TRY400


async def _tidy(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _end_without_stragglers() -> None:
    """Ends the process here if some thread would keep it: the worker has left, nothing is owed any more."""
    stragglers = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if not stragglers:
        return
    log.warning("ending in spite of %d threads that handlers left running", len(stragglers))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
