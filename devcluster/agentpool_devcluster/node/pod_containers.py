"""All containers of a pod: init containers in sequence with sidecars, then the main containers together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import KubeObject, now_text
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.container import ContainerRunner
from agentpool_devcluster.node.container_state import ContainerRecord, Terminated, Waiting, record_from_status
from agentpool_devcluster.node.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agentpool_devcluster.node.surroundings import Surroundings


class PodContainers:
    """Runs a pod's containers. Records exist from the start, so a status can always be built."""

    def __init__(self, pod: KubeObject, *, changed: Callable[[], None]) -> None:
        spec = pod["spec"]
        self._init_specs: Sequence[Mapping[str, Any]] = spec.get("initContainers") or ()
        self._main_specs: Sequence[Mapping[str, Any]] = spec.get("containers") or ()
        self._policy = str(spec.get("restartPolicy") or "Always")
        self._changed = changed
        status = pod.get("status") or {}
        self.init = _records(self._init_specs, status.get("initContainerStatuses"))
        self.main = _records(self._main_specs, status.get("containerStatuses"))
        self.sidecars = frozenset(str(one["name"]) for one in self._init_specs if one.get("restartPolicy") == "Always")
        self.initialized = not self._init_specs
        self.finished = False
        self.runners: dict[str, ContainerRunner] = {}
        self._sidecar_tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: Deadline | None = None

    def hold(self, reason: str, message: str) -> None:
        """Let all containers wait, for that reason."""
        for record in [*self.init, *self.main]:
            record.state = Waiting(reason=reason, message=message)

    async def run(self, surroundings: Surroundings) -> None:
        """Run until every main container has ended for good."""
        try:
            if not await self._initialize(surroundings):
                return
            self.initialized = True
            runners = [
                self._runner(spec, record, surroundings, self._policy)
                for spec, record in zip(self._main_specs, self.main, strict=True)
            ]
            async with asyncio.TaskGroup() as group:
                for runner in runners:
                    group.create_task(runner.run())
        finally:
            await self._end_sidecars()
            self.finished = True
            self._changed()

    def stop(self, deadline: Deadline) -> None:
        """End everything by the deadline: main and init containers now, sidecars after them."""
        self._stopping = deadline
        for name, runner in self.runners.items():
            if name not in self.sidecars:
                runner.stop(deadline)

    async def _initialize(self, surroundings: Surroundings) -> bool:
        """Run the init containers and start the sidecars; whether all went well."""
        policy = "Never" if self._policy == "Never" else "OnFailure"
        for spec, record in zip(self._init_specs, self.init, strict=True):
            if self._stopping is not None:
                return False
            if record.name in self.sidecars:
                runner = self._runner(spec, record, surroundings, "Always")
                task = asyncio.create_task(runner.run(), name=f"sidecar-{record.name}")
                self._sidecar_tasks[record.name] = task
                started = asyncio.create_task(runner.first_start.wait())
                await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
                started.cancel()
                continue
            if not _is_good_end(record):
                await self._runner(spec, record, surroundings, policy).run()
            if not _is_good_end(record):
                self._leave_out(record)
                return False
        return self._stopping is None

    def _leave_out(self, failed: ContainerRecord) -> None:
        """Mark the containers after a failed init container as never started."""
        later = self.init[self.init.index(failed) + 1 :]
        for record in [*later, *self.main]:
            record.state = Waiting(reason="PodInitializing")

    async def _end_sidecars(self) -> None:
        """End the sidecars, after the main containers, in reverse order."""
        deadline = self._stopping
        if deadline is None:
            deadline = Deadline()
            deadline.shorten(30)
        for name in reversed(list(self._sidecar_tasks)):
            self.runners[name].stop(deadline)
            task = self._sidecar_tasks[name]
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                await cancel_and_wait(*self._sidecar_tasks.values())
                raise

    def _runner(
        self, spec: Mapping[str, Any], record: ContainerRecord, surroundings: Surroundings, policy: str
    ) -> ContainerRunner:
        runner = ContainerRunner(spec, record, surroundings, restart_policy=policy, changed=self._changed)
        self.runners[record.name] = runner
        if self._stopping is not None:
            runner.stop(self._stopping)
        return runner


def _is_good_end(record: ContainerRecord) -> bool:
    return isinstance(record.state, Terminated) and record.state.exit_code == 0


def _records(specs: Sequence[Mapping[str, Any]], statuses: Sequence[Mapping[str, Any]] | None) -> list[ContainerRecord]:
    known = {status["name"]: dict(status) for status in statuses or ()}
    now = now_text()
    return [record_from_status(dict(spec), known.get(spec["name"]), now) for spec in specs]
