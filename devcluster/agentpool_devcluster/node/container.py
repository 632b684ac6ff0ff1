"""Run a container of a pod, repeatedly according to its restart policy, until stopped.

A run: prepare environment and mounts, start the process, hooks and probes, wait for the end. The crash backoff
separates runs. Every change of the record is reported through `changed`; the pod's runner turns the record into a
status.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import name_of, namespace_of, now_text, uid_of
from agentpool_devcluster.kube.resources import PODS
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.backoff import CrashBackoff, wait_text
from agentpool_devcluster.node.container_state import (
    EXIT_START_FAILED,
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    ended,
)
from agentpool_devcluster.node.deadline import Deadline
from agentpool_devcluster.node.errors import ContainerConfigError, StartError, VolumeError
from agentpool_devcluster.node.hooks import run_hook
from agentpool_devcluster.node.images import unmapped_words
from agentpool_devcluster.node.launching import prepare
from agentpool_devcluster.node.log_file import LogQuery, log_path, read_log
from agentpool_devcluster.node.memory import watch_memory
from agentpool_devcluster.node.probes import Prober
from agentpool_devcluster.node.probing import ContainerProbes
from agentpool_devcluster.node.process import Launch, LocalProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentpool_devcluster.node.surroundings import Surroundings

_log = logging.getLogger(__name__)

LOG_TAIL_LINES = 80  # of a failed run, used as message if the container requests that
LOG_TAIL_BYTES = 2048


class ContainerRunner:
    """A container. `run` returns when the container will not start again; `stop` causes that."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        record: ContainerRecord,
        surroundings: Surroundings,
        *,
        restart_policy: str,
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self._spec = spec
        self._surroundings = surroundings
        self._restart_policy = restart_policy
        self._changed = changed
        self._backoff = CrashBackoff(settings=surroundings.tools.settings.backoff)
        self._stop = asyncio.Event()
        self._deadline = Deadline()
        self.run_ended = asyncio.Event()  # of the present run, for followers of the log
        self.first_start = asyncio.Event()  # set once the container has started and its startup probe has passed

    @property
    def name(self) -> str:
        """The container's name."""
        return self.record.name

    async def run(self) -> None:
        """Run the container until it will not start again."""
        if isinstance(self.record.state, Terminated):  # the node was restarted
            if not self._again(self.record.state):
                return
            self._set_aside(self.record.state)
            self.record.restarts += 1
        while not self._stop.is_set():
            began = asyncio.get_running_loop().time()
            end = await self._run_once()
            if end is None:
                await self._pause(self._surroundings.tools.settings.config_retry_seconds)
                continue
            if self._stop.is_set() or not self._again(end):
                return
            wait = self._backoff.next_wait(asyncio.get_running_loop().time() - began)
            self._set_aside(end)
            if wait > 0:
                await self._hold_back(wait)
            if not self._stop.is_set():
                self.record.restarts += 1

    def stop(self, deadline: Deadline) -> None:
        """End the present run by `deadline`, and start no further run."""
        self._deadline = deadline
        self._stop.set()

    async def _run_once(self) -> Terminated | None:
        """Run once; return None if preparation failed and should be retried."""
        try:
            launch = await prepare(self._spec, self._surroundings)
        except (ContainerConfigError, VolumeError) as error:
            reason = getattr(error, "reason", "CreateContainerConfigError")
            self._wait_with(reason, str(error))
            self._warn("Failed", f"Error: {error}")
            return None
        path = log_path(self._surroundings.logs, self.name, self.record.restarts)
        started_at = now_text()
        try:
            process = await LocalProcess.start(launch, self._surroundings.tools.guardian, path)
        except StartError as error:
            path.touch()
            self._warn("Failed", f"Error: {error}")
            end = Terminated(
                exit_code=EXIT_START_FAILED,
                reason="StartError",
                message=str(error),
                started_at=started_at,
                finished_at=now_text(),
            )
            self._ended(end)
            return end
        return await self._attend(process, launch, started_at)

    async def _attend(self, process: LocalProcess, launch: Launch, started_at: str) -> Terminated:
        """Accompany a run from start to end."""
        self.run_ended.clear()
        self.record.state = Running(started_at=started_at)
        self.record.container_id = f"process://{process.pid}-{self.record.restarts}"
        self._event("Started", f"Started container {self.name}")
        prober = Prober(self._surroundings.tools.web, self._surroundings.place.pod_ip)
        probes = ContainerProbes(self._spec, self.record, on_change=self._probed, on_event=self._event_of)
        exit_task = asyncio.create_task(process.wait())
        memory = asyncio.create_task(watch_memory(process, self._spec))
        helpers = [asyncio.create_task(probes.run(prober, launch)), memory]
        self._changed()
        failed_hook = await run_hook("postStart", self._spec, prober, launch, self._deadline)
        try:
            if failed_hook:
                self._warn("FailedPostStartHook", failed_hook)
                await self._end(process, exit_task, prober, launch, self._fresh_deadline(None))
            else:
                await self._wait_for_end(process, exit_task, probes, prober, launch)
        finally:
            await cancel_and_wait(*[helper for helper in helpers if not helper.done()])
            if not exit_task.done():  # we are being cancelled: nothing may be left behind
                process.kill_all()
            code = await asyncio.shield(exit_task)
            await process.clear_up()
        oom = memory.done() and not memory.cancelled() and memory.result()
        message = self._last_words(code, launch)
        end = ended(code, started_at=started_at, finished_at=now_text(), message=message, oom=oom)
        self._ended(end)
        return end

    async def _wait_for_end(
        self,
        process: LocalProcess,
        exit_task: asyncio.Task[int],
        probes: ContainerProbes,
        prober: Prober,
        launch: Launch,
    ) -> None:
        """Wait until the run ends by itself, is stopped, or fails a probe."""
        stopping = asyncio.create_task(self._stop.wait())
        found_dead = asyncio.create_task(probes.failed.wait())
        try:
            await asyncio.wait({exit_task, stopping, found_dead}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            found_dead.cancel()
        if exit_task.done():
            return
        if self._stop.is_set():
            self._event("Killing", f"Stopping container {self.name}")
            probes.keep_readiness_only()
            await self._end(process, exit_task, prober, launch, self._deadline)
            return
        self._event("Killing", f"Container {self.name} failed {probes.failed_kind} probe, will be restarted")
        await self._end(process, exit_task, prober, launch, self._fresh_deadline(probes.failed_grace))

    async def _end(
        self, process: LocalProcess, exit_task: asyncio.Task[int], prober: Prober, launch: Launch, deadline: Deadline
    ) -> None:
        """Run the hook, then send SIGTERM, and SIGKILL at the deadline."""
        problem = await run_hook("preStop", self._spec, prober, launch, deadline)
        if problem:
            self._warn("FailedPreStopHook", problem)
        process.terminate()
        if not await deadline.wait_for(exit_task):
            process.kill_all()
            await exit_task

    def _fresh_deadline(self, grace_seconds: float | None) -> Deadline:
        grace = grace_seconds
        if grace is None:
            grace = float(self._surroundings.pod["spec"].get("terminationGracePeriodSeconds") or 30)
        deadline = Deadline()
        deadline.shorten(grace)
        return deadline

    def _again(self, end: Terminated) -> bool:
        return self._restart_policy == "Always" or (self._restart_policy == "OnFailure" and end.exit_code != 0)

    def _set_aside(self, end: Terminated) -> None:
        """Store the ended run as the last run."""
        self.record.last = end

    async def _hold_back(self, seconds: float) -> None:
        pod = self._surroundings.pod
        place = f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"
        message = f"back-off {wait_text(seconds)} restarting failed container={self.name} pod={place}"
        self._wait_with("CrashLoopBackOff", message)
        self._warn("BackOff", f"Back-off restarting failed container {self.name} in pod {place}")
        await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _wait_with(self, reason: str, message: str) -> None:
        self.record.state = Waiting(reason=reason, message=message)
        self.record.ready = self.record.started = False
        self._changed()

    def _ended(self, end: Terminated) -> None:
        self.record.state = end
        self.record.ready = self.record.started = False
        self.run_ended.set()
        self._changed()

    def _probed(self) -> None:
        if self.record.started:
            self.first_start.set()
        self._changed()

    def _last_words(self, code: int, launch: Launch) -> str:
        """Return the end of the log as the message of a failed run, if the container requests that.

        A failure without the image's files is named in the last line, which tools display.
        """
        image = str(self._spec.get("image") or "")
        if code != 0 and not launch.has_image:
            self._warn("ImageNotMapped", unmapped_words(image))
        if code == 0 or self._spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        path = log_path(self._surroundings.logs, self.name, self.record.restarts)
        text = read_log(path, LogQuery(tail_lines=LOG_TAIL_LINES))
        words = text[-LOG_TAIL_BYTES:].decode(errors="replace")
        if launch.has_image:
            return words
        before, newline, last = words.rstrip().rpartition("\n")
        last_words = f"; its last words: {last}" if last else ""
        return f"{before}{newline}{unmapped_words(image)}{last_words}"

    def _event(self, reason: str, message: str) -> None:
        self._event_of("Normal", reason, message)

    def _warn(self, reason: str, message: str) -> None:
        self._event_of("Warning", reason, message)

    def _event_of(self, kind: str, reason: str, message: str) -> None:
        events = self._surroundings.tools.events
        record = events.normal if kind == "Normal" else events.warning
        record(PODS, self._surroundings.pod, reason, message, field=f"spec.containers{{{self.name}}}")
