"""A pod on this node, from binding to its confirmed end.

A task works through the pod's life; a second task writes the status after every change. The agent passes new versions
of the pod to `update`; a deletion at any time leads to the same orderly end.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

from agentpool_devcluster.kube.client import Patch
from agentpool_devcluster.kube.errors import ApiError, ConflictError, KubeError, NotFoundError
from agentpool_devcluster.kube.objects import KubeObject, is_terminating, name_of, namespace_of, now_text, uid_of
from agentpool_devcluster.kube.resources import PODS
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.deadline import Deadline
from agentpool_devcluster.node.errors import AdmissionError, ContainerConfigError, VolumeError
from agentpool_devcluster.node.mounts import mounts_supported
from agentpool_devcluster.node.pod_containers import PodContainers
from agentpool_devcluster.node.pod_status import PodFacts, status_of
from agentpool_devcluster.node.ports import with_ports
from agentpool_devcluster.node.restrictions import has_mounts, not_enforced, refusals
from agentpool_devcluster.node.surroundings import Surroundings
from agentpool_devcluster.node.volumes import fill_volumes

_log = logging.getLogger(__name__)

DEFAULT_GRACE_SECONDS = 30
VANISHED_GRACE_SECONDS = 2.0  # for a pod object that was removed without waiting for this node
FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 5.0

Admission = Callable[[Surroundings], Awaitable[None]]
"""Lends the pod its devices; raises AdmissionError where the node cannot take it."""


class PodRunner:
    """Runs a pod. `run` returns when nothing of the pod is left on the node."""

    def __init__(self, surroundings: Surroundings, *, admit: Admission, finished: Callable[[], None]) -> None:
        self._surroundings = surroundings
        self._admit = admit
        self._finished = finished
        self._client = surroundings.tools.client
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._deadline = Deadline()
        self._vanished = False
        self._failure: tuple[str, str] | None = None
        self._set_up = False
        self._sent: dict[str, Any] = {}
        status = surroundings.pod.get("status") or {}
        self._started_at = str(status.get("startTime") or now_text())
        place = surroundings.place
        pod = with_ports(surroundings.pod, place.ports, shared_address=place.shared_address)
        self.containers = PodContainers(pod, changed=self._dirty.set)

    @property
    def pod(self) -> KubeObject:
        """The pod as last seen."""
        return self._surroundings.pod

    @property
    def surroundings(self) -> Surroundings:
        """Return the shared resources of the pod's containers."""
        return self._surroundings

    def update(self, pod: KubeObject) -> None:
        """Take the changed object of the pod."""
        self._surroundings.pod = pod
        if is_terminating(pod):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self.end_within(DEFAULT_GRACE_SECONDS if grace is None else float(grace))

    def vanish(self) -> None:
        """End quickly and report nothing: the pod's object is gone."""
        self._vanished = True
        self.end_within(VANISHED_GRACE_SECONDS)

    def shut_down(self, grace_seconds: float) -> None:
        """End the pod because the node stops, and report the pod as failed, so a controller replaces it."""
        if not self._stop.is_set() and not self.containers.finished:
            self._failure = ("Terminated", "Pod was terminated in response to imminent node shutdown.")
        own = self.pod["spec"].get("terminationGracePeriodSeconds")
        self.end_within(min(grace_seconds, DEFAULT_GRACE_SECONDS if own is None else float(own)))

    def end_within(self, seconds: float) -> None:
        """End the pod within this time."""
        self._deadline.shorten(seconds)
        self._stop.set()
        self.containers.stop(self._deadline)

    async def run(self) -> None:
        """Live the pod's life."""
        reporter = asyncio.create_task(self._report_changes(), name=f"report-{name_of(self.pod)}")
        self._dirty.set()
        try:
            await self._live()
            self._finished()
            await self._stop.wait()
        finally:
            await cancel_and_wait(reporter)
            await asyncio.to_thread(shutil.rmtree, self._surroundings.folder, ignore_errors=True)
        if not self._vanished:
            await self._confirm_end()

    async def _live(self) -> None:
        """Everything until the last container has ended, or the pod turned out not to be runnable."""
        try:
            if await self._get_ready():
                self._set_up = True
                self._dirty.set()
                await self._run_containers()
        except AdmissionError as error:
            self._failure = (error.reason, str(error))
            self._surroundings.tools.events.warning(PODS, self.pod, error.reason, str(error))
            self._dirty.set()

    async def _get_ready(self) -> bool:
        """Check and prepare the pod; return False if the pod can only wait for the deletion."""
        able = not has_mounts(self.pod) or await asyncio.to_thread(mounts_supported)
        refused = refusals(self.pod, mounts_supported=able)
        events = self._surroundings.tools.events
        if refused:
            message = "; ".join(refused)
            self.containers.hold("CreateContainerConfigError", message)
            events.warning(PODS, self.pod, "Unsupported", message)
            self._dirty.set()
            return False
        unenforced = not_enforced(self.pod)
        if unenforced:
            events.normal(PODS, self.pod, "NotEnforced", f"this node does not enforce {', '.join(unenforced)}")
        for port, own in self._surroundings.place.ports.items():
            words = f"port {port} is port {own} of this host: pods share its network, and PORT names the pod's own port"
            events.normal(PODS, self.pod, "PrivatePort", words)
        await self._admit(self._surroundings)
        self._surroundings.make_folders()
        return await self._fill_volumes()

    async def _fill_volumes(self) -> bool:
        surroundings = self._surroundings
        while not self._stop.is_set():
            try:
                folder = surroundings.folder / "volumes"
                surroundings.volumes = await fill_volumes(self.pod, surroundings.place, folder, surroundings)
            except (VolumeError, ContainerConfigError) as error:
                surroundings.tools.events.warning(PODS, self.pod, "FailedMount", str(error))
                await self._pause(surroundings.tools.settings.config_retry_seconds)
            else:
                return True
        return False

    async def _run_containers(self) -> None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            timer = asyncio.get_running_loop().call_later(float(seconds), self._out_of_time)
        try:
            await self.containers.run(self._surroundings)
        finally:
            if timer is not None:
                timer.cancel()

    def _out_of_time(self) -> None:
        self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        own = self.pod["spec"].get("terminationGracePeriodSeconds")
        self._deadline.shorten(DEFAULT_GRACE_SECONDS if own is None else float(own))
        self.containers.stop(self._deadline)

    def status(self) -> dict[str, Any]:
        """Return the pod's status as of now."""
        containers, place = self.containers, self._surroundings.place
        facts = PodFacts(
            init=containers.init,
            main=containers.main,
            sidecars=containers.sidecars,
            initialized=containers.initialized,
            set_up=self._set_up,
            finished=containers.finished,
            pod_ip=place.pod_ip,
            host_ip=place.host_ip,
            started_at=self._started_at,
            failure=self._failure,
        )
        return status_of(self.pod, facts, now_text())

    async def _report_changes(self) -> None:
        delay = FIRST_RETRY_SECONDS
        while not self._vanished:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._report()
                delay = FIRST_RETRY_SECONDS
            except (NotFoundError, ConflictError):
                continue  # gone or replaced: the agent will report
            except KubeError as error:
                _log.debug("status of %s not written: %s", name_of(self.pod), error)
                self._dirty.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    async def _report(self) -> None:
        status = self.status()
        if status == self._sent:
            return
        patch = {"metadata": {"uid": uid_of(self.pod)}, "status": status}
        await self._client.patch(
            PODS, namespace_of(self.pod), name_of(self.pod), patch, kind=Patch.STRATEGIC, subresource="status"
        )
        self._sent = status

    async def _confirm_end(self) -> None:
        """Report the last status, and where deletion was asked for, let the object go."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                if self.containers.finished or self._failure is not None:
                    await self._report()
                if is_terminating(self.pod):
                    await self._client.delete(
                        PODS, namespace_of(self.pod), name_of(self.pod), uid=uid_of(self.pod), grace_seconds=0
                    )
            except ApiError as error:
                _log.debug("end of %s not confirmed: %s", name_of(self.pod), error)
                return
            except KubeError as error:
                _log.debug("end of %s not confirmed: %s; again", name_of(self.pod), error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
