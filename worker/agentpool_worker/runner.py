"""A worker as a process: the fastest event loop, signals, and an end that nothing can delay.

SystemExit or KeyboardInterrupt raised in a handler's own task would end the event loop, and so would a handler that
stops it: the loop is resumed. A handler that cancels all tasks ends the worker, and a new process begins. Hanging
threads and processes of a handler would keep the process alive after the worker's end: the processes are ended, and the
threads are not waited for. `agentpool_worker.supervision.supervisor`, or the shell, takes over next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from agentpool_worker.supervision import lifeline
from agentpool_worker.supervision.exits import RESTART
from agentpool_worker.supervision.lifeline import Phase

if TYPE_CHECKING:
    from agentpool_worker.worker import Worker

log = logging.getLogger(__name__)

_TIDY_SECONDS = 1.0  # for generators and threads that handlers left behind


def run_process(worker: Worker) -> int:
    """Run the worker to the end; return its exit code. Raises the errors of `Worker.run`."""
    worker.ends_process = True
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.leave)
    try:
        _run_to_end(loop, loop.create_task(worker.run()))
    finally:
        lifeline.mark(Phase.LEFT)
        _end_children()
        with contextlib.suppress(RuntimeError, TimeoutError):
            loop.run_until_complete(asyncio.wait_for(_tidy(loop), _TIDY_SECONDS))
        loop.close()
    _end_without_stragglers(worker.exit_code)
    return worker.exit_code


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
        except asyncio.CancelledError:
            # No other code cancels the task: `leave` asks, and the signals call `leave`.
            log.critical("a handler cancelled all tasks of the event loop, including the worker's; the process ends")
            sys.exit(RESTART)
        except RuntimeError:
            if life.done():
                raise
            log.error("a handler stopped the event loop; the worker continues")  # noqa: TRY400
        except (SystemExit, KeyboardInterrupt) as error:
            if life.done():
                raise
            log.error("a task of a handler raised %s; the worker continues", type(error).__name__)  # noqa: TRY400


async def _tidy(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _end_children() -> None:
    """End processes that handlers started with `multiprocessing`, which the interpreter would join at exit."""
    if "multiprocessing" not in sys.modules:
        return
    import multiprocessing

    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    give_up_at = time.monotonic() + _TIDY_SECONDS
    for child in children:
        child.join(max(0.0, give_up_at - time.monotonic()))
        if child.is_alive():
            child.kill()
    if children:
        log.warning("ended %d processes that handlers left running", len(children))


def _end_without_stragglers(code: int) -> None:
    """End the process here if a thread would keep it alive: the worker has left, nothing is pending."""
    stragglers = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if not stragglers:
        return
    log.warning("ending in spite of %d threads that handlers left running", len(stragglers))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
