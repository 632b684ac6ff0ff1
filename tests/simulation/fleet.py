"""The machines with workers: started, killed, frozen, drained; a machine that has ended is replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentpool_core.jobs import WorkerId
from agentpool_worker.settings import WorkerSettings
from agentpool_worker.worker import Worker
from tests.simulation.virtual_loop import Machine, here

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_worker.handlers.app import App
    from tests.simulation.network import Network
    from tests.simulation.story import Story

RESTART_SECONDS = 0.5  # of a container
URL = "redis://redis:6379?socket_timeout=5&socket_connect_timeout=1"


class Fleet:
    """All workers of the pool, by machine."""

    def __init__(self, network: Network, story: Story, pool: PoolRef, app: App) -> None:
        self._network, self._story, self._pool, self._app = network, story, pool, app
        self.machines: dict[str, Machine] = {}  # with a worker that runs
        self.pods: dict[str, float] = {}  # name, and time of creation; also while a container is started again
        self._workers: dict[str, Worker] = {}
        self._number = 0

    def start(self, name: str | None = None) -> str:
        """Start a worker on a new machine; the same name stands for a container that was started again."""
        if name is None:
            self._number += 1
            name = f"w{self._number}"
        self.pods.setdefault(name, self._network.loop.now)
        machine = self.machines[name] = Machine(self._network.loop, name)
        worker = self._workers[name] = Worker(self._app, self._settings(name))
        self._story.add(name, "worker starts")
        machine.start(self._run(name, worker))
        return name

    async def _run(self, name: str, worker: Worker) -> None:
        try:
            await worker.run()
            self._story.add(name, "worker has left")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # the process ends, and a supervisor would start the next
            self._story.add(name, f"worker fails: {type(error).__name__}: {error}")
        self.pods.pop(name, None)
        self._forget(name)

    def _settings(self, name: str) -> WorkerSettings:
        return WorkerSettings(
            redis_url=URL,
            pool=self._pool,
            worker=WorkerId(name),
            host=name,
            safety_poll_seconds=3.0,
            cancel_grace_seconds=0.5,
            start_seconds=600.0,
        )

    def kill(self, name: str, *, silently: bool) -> None:
        """End a worker without clean-up; `silently`: with its machine, so that its connections stay open."""
        self._story.add(name, "machine is lost" if silently else "worker is killed")
        machine = self.machines[name]
        machine.end()
        self._network.end(machine, silently=silently)
        self._forget(name)
        if silently:
            self.pods.pop(name, None)

    def die(self) -> None:
        """End the worker that calls this; its container is started again."""
        machine = here()
        assert machine is not None
        self.kill(machine.name, silently=False)
        self._network.loop.call_later(RESTART_SECONDS, self.restart, machine.name, context=self._network.between)

    def restart(self, name: str) -> None:
        """Start the container of a worker that has ended, if its pod is left."""
        if name in self.pods and name not in self.machines:
            self.start(name)

    def leave(self, name: str) -> None:
        """Ask a worker to leave, like SIGTERM; its pod counts no more."""
        self.pods.pop(name, None)
        if name not in self.machines:
            return
        self._story.add(name, "worker is asked to leave")
        self.machines[name].call(self._workers[name].leave)

    def _forget(self, name: str) -> None:
        self.machines.pop(name, None)
