"""Protection of the worker and the queue from processes that a handler forks.

A fork copies the worker with its event loop and its connections to Redis, which both processes would read and write. In
the child these connections are closed, and a child that returns to the event loop ends there, before any action. A
child that runs its own code and ends by itself (`multiprocessing`, fork and exec) is not affected. A signal to a child
is for the child only: the child starts with the default actions, and without the descriptor through which signals wake
the worker. `agentpool_worker.worker` guards its loop as long as the instance exists.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from agentpool_core.queue.connection.pools import QueuePool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentpool_core.queue.connection.client import RedisClient

log = logging.getLogger(__name__)

_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)  # handled by the worker or its event loop
CLONE_EXIT_CODE = 70  # EX_SOFTWARE: of a child that a handler forked and that came back


class ForkGuard:
    """Guard of an event loop and its Redis clients. Create the guard in this loop; active until `close`."""

    def __init__(self, clients: Sequence[RedisClient]) -> None:
        self._clients = tuple(clients)
        self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.register_at_fork(after_in_child=self._in_child)  # for good: Python cannot remove the hook

    def close(self) -> None:
        """Stop guarding."""
        self._loop = None
        self._clients = ()
        os.close(self._nowhere)

    def _in_child(self) -> None:
        if self._loop is None:
            return
        _restore_signals()
        for client in self._clients:
            for descriptor in _descriptors(client):
                os.dup2(self._nowhere, descriptor, inheritable=False)
        if threading.get_ident() == self._thread_id:
            self._loop.call_soon(_end_clone)  # before whatever the child's handler goes on with


def guard_signals() -> None:
    """Let every child that this process forks from now on begin with default signal actions."""
    os.register_at_fork(after_in_child=_restore_signals)


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OURS:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def _end_clone() -> None:
    log.error(
        "process %d, forked by a handler, returned into the worker and is ended; "
        "end the child with os._exit, or start it with multiprocessing or subprocess", os.getpid(),
    )  # fmt: skip
    os._exit(CLONE_EXIT_CODE)


def _descriptors(client: RedisClient) -> Iterator[int]:
    """Yield the sockets of a client's connections. A cluster's client has no pool of its own; its sockets stay open."""
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, QueuePool):
        yield from (socket.fileno() for socket in pool.sockets())
