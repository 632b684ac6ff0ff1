"""The node agent: registers the node, runs the pods bound to the node, and leaves nothing behind when stopped.

The agent watches the pods of its node and gives each pod, by uid, a runner.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from agentpool_devcluster.kube.errors import KubeError
from agentpool_devcluster.kube.events import EventRecorder
from agentpool_devcluster.kube.informer import Change, Informer
from agentpool_devcluster.kube.objects import KubeObject, ObjectKey, Uid, key_of, name_of, uid_of
from agentpool_devcluster.kube.quantity import Amounts, amounts_of
from agentpool_devcluster.kube.resources import NODES, PODS
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.addresses import AddressBlock
from agentpool_devcluster.node.devices import DeviceTable
from agentpool_devcluster.node.fields import PodPlace
from agentpool_devcluster.node.guardian import Guardian
from agentpool_devcluster.node.pod_runner import PodRunner
from agentpool_devcluster.node.ports import PortRange, private_ports
from agentpool_devcluster.node.registration import Registration, default_resources
from agentpool_devcluster.node.server import NodeServer
from agentpool_devcluster.node.surroundings import NodeTools, Surroundings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.node.settings import NodeSettings

_log = logging.getLogger(__name__)

FAREWELL_SECONDS = 2.0  # for the last words to an API server that may be gone already


@dataclass(slots=True)
class _Parts:
    """Parts of a running agent, stopped in reverse order."""

    tools: NodeTools
    addresses: AddressBlock
    ports: PortRange
    server: NodeServer
    registration: Registration
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)


class NodeAgent:
    """A node: `start`, then `stop`. Several nodes may live in a process."""

    def __init__(self, client: KubeClient, settings: NodeSettings) -> None:
        self._client = client
        self._settings = settings
        self._devices = DeviceTable()
        self._runners: dict[Uid, PodRunner] = {}
        self._by_key: dict[ObjectKey, PodRunner] = {}
        self._pod_tasks: dict[Uid, asyncio.Task[None]] = {}
        self._pods = Informer(client, PODS, fields=f"spec.nodeName={settings.name}")
        self._parts: _Parts | None = None
        self._lent: dict[Uid, PodPlace] = {}  # addresses and ports of pods that still run

    @property
    def name(self) -> str:
        """The node's name."""
        return self._settings.name

    async def start(self) -> None:
        """Register the node and start running bound pods. Raises KubeError or NodeError."""
        settings = self._settings
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        tools = NodeTools(
            settings=settings,
            client=self._client,
            events=EventRecorder(self._client, component="kubelet", host=settings.name),
            guardian=Guardian.start(settings.state_dir),
            web=aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)),
        )
        addresses = AddressBlock.claim()
        server = NodeServer(self._by_key.get)
        port = await server.start(settings.address, settings.tls_certificate)
        registration = Registration(self._client, settings, port=port, pod_cidr=addresses.cidr)
        self._parts = _Parts(tools, addresses, PortRange(), server, registration)
        try:
            await registration.register()
        except BaseException:
            await self._take_down(self._parts)
            raise
        self._pods.subscribe(self._pod_changed)
        self._parts.tasks = [
            asyncio.create_task(self._pods.run(), name=f"{self.name}-pods"),
            asyncio.create_task(registration.run(), name=f"{self.name}-lease"),
            asyncio.create_task(tools.events.run(), name=f"{self.name}-events"),
        ]
        tools.events.normal(NODES, self._node_reference(), "Starting", "Starting kubelet.")

    async def stop(self) -> None:
        """End all pods, say good-bye, and take everything down."""
        parts = self._parts
        if parts is None:
            return
        self._parts = None
        await cancel_and_wait(*parts.tasks)
        for runner in self._runners.values():
            runner.shut_down(self._settings.shutdown_seconds)
        await self._await_pods()
        await _briefly(parts.registration.retire())
        await _briefly(parts.tools.events.flush())
        await self._take_down(parts)

    async def _await_pods(self) -> None:
        """Wait until all pods have ended, with a limit for pods that cannot report their end to the server."""
        if self._pod_tasks:
            patience = self._settings.shutdown_seconds + FAREWELL_SECONDS
            _, late = await asyncio.wait(self._pod_tasks.values(), timeout=patience)
            await cancel_and_wait(*late)

    async def _take_down(self, parts: _Parts) -> None:
        await parts.server.stop()
        await parts.tools.web.close()
        await parts.tools.guardian.stop()
        parts.addresses.close()
        parts.ports.close()

    def _pod_changed(self, change: Change) -> None:
        if change.new is None:
            runner = self._runners.get(uid_of(change.current))
            if runner is not None:
                runner.vanish()
            return
        runner = self._runners.get(uid_of(change.new))
        if runner is not None:
            runner.update(change.new)
        elif self._parts is not None and not _is_over(change.new):
            self._begin(change.new, self._parts)

    def _begin(self, pod: KubeObject, parts: _Parts) -> None:
        uid = uid_of(pod)
        shared_address = parts.addresses.cidr is None
        place = PodPlace(
            pod_ip=parts.addresses.take(),
            shared_address=shared_address,
            ports={port: parts.ports.take() for port in private_ports(pod, shared_address=shared_address)},
            host_ip=self._settings.address,
            node_name=self.name,
            allocatable=amounts_of({**default_resources(), **self._settings.resources}),
        )
        folder = self._settings.state_dir / "pods" / str(uid)
        self._lent[uid] = place
        runner = PodRunner(
            Surroundings(tools=parts.tools, pod=pod, place=place, folder=folder),
            admit=self._admit,
            finished=lambda: self._take_back(uid, parts),
        )
        self._runners[uid] = runner
        self._by_key[key_of(pod)] = runner
        runner.update(pod)
        task = asyncio.create_task(self._run_pod(uid, runner, parts), name=f"pod-{name_of(pod)}")
        self._pod_tasks[uid] = task

    async def _run_pod(self, uid: Uid, runner: PodRunner, parts: _Parts) -> None:
        try:
            await runner.run()
        except Exception:  # noqa: BLE001 - one pod must not end the node
            _log.exception("pod %s: its runner failed", key_of(runner.pod))
        finally:
            self._take_back(uid, parts)
            del self._runners[uid], self._pod_tasks[uid]
            if self._by_key.get(key_of(runner.pod)) is runner:
                del self._by_key[key_of(runner.pod)]

    def _take_back(self, uid: Uid, parts: _Parts) -> None:
        """Release the devices, the address and the ports of an ended pod."""
        self._devices.release(uid)
        if (place := self._lent.pop(uid, None)) is not None:
            parts.addresses.give_back(place.pod_ip)
            for port in place.ports.values():
                parts.ports.give_back(port)

    async def _admit(self, surroundings: Surroundings) -> None:
        """Assign the requested devices to the pod. Raises AdmissionError."""
        surroundings.devices = self._devices.allocate(surroundings.pod, await self._offered())

    async def _offered(self) -> Amounts:
        parts = self._parts
        try:
            if parts is not None:
                return await parts.registration.allocatable()
        except KubeError as error:
            _log.debug("node %s: what it offers cannot be read: %s", self.name, error)
        return amounts_of(self._settings.resources)

    def _node_reference(self) -> Mapping[str, Any]:
        return {"metadata": {"name": self.name, "uid": self.name}}


def _is_over(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod had ended before this agent saw it: only a requested deletion remains to confirm."""
    ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return ended and not pod["metadata"].get("deletionTimestamp")


async def _briefly(farewell: Awaitable[None]) -> None:
    """Await a last request, with a short limit, ignoring failures."""
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await farewell
    except (KubeError, TimeoutError) as error:
        _log.debug("not said: %s", error)
