"""The whole system on a single machine: Redis, the devcluster, the operator, the gateway, as children of this process.

Started in that order, each once the previous part is ready; stopped in reverse order, so that the workers can still
requeue their jobs. Everything listens on free ports of the loopback and keeps its files in a workspace. `dev` and
`session` decide the steps in between.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from agentpool_core.errors import ClusterError
from agentpool_local.bundled import CRD, EXAMPLE, bundled, manifest
from agentpool_local.flags import check_image, check_node
from agentpool_local.stack.child import Child
from agentpool_local.stack.cluster import open_kubeconfig
from agentpool_local.stack.kept import KeptState
from agentpool_local.stack.redis_server import LOOPBACK, check_port, check_redis, free_port, start_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_local.errors import ChildDiedError
    from agentpool_local.stack.workspace import Workspace

CLUSTER_START_SECONDS = 30.0
OPERATOR_START_SECONDS = 30.0
CLUSTER_STOP_SECONDS = 30.0  # includes the drain of pods
OPERATOR_STOP_SECONDS = 10.0
GATEWAY_START_SECONDS = 30.0
GATEWAY_STOP_SECONDS = 15.0  # requests in flight may end
REDIS_STOP_SECONDS = 5.0
ANSWER = aiohttp.ClientTimeout(total=5.0)  # of a probe: a starting part listens before it answers
STEADY_SECONDS = 30.0  # a part that has run for longer did not end because of its options
MOST_EARLY_ENDS = 5  # of an operator or gateway in a row, each after a second more, before everything ends
QUIET_SECONDS = 1.0  # of stopping a part, before a message names the part
SECRET = "agentpool-redis"  # noqa: S105 - a Secret's name
NAMESPACE = "default"
DEVCLUSTER, OPERATOR, GATEWAY = "devcluster", "operator", "gateway"  # the children's names
STOPPING = {DEVCLUSTER: "the workers to finish or requeue their jobs", GATEWAY: "open requests to end"}
NODES = ("node-a,cpu=8,memory=32Gi,nvidia.com/gpu=2", "node-b,cpu=8,memory=32Gi,nvidia.com/gpu=2")
EXAMPLE_IMAGE = "agentpool/repo-analyst"


@dataclass(frozen=True, kw_only=True, slots=True)
class StackOptions:
    """Parts to start, and their options."""

    redis_url: str | None = None  # None: start a server
    redis_port: int = 0  # of the started server; 0 chooses a free port
    api_port: int = 0  # of the API server; 0 chooses a free port
    gateway: bool = False  # the HTTP API and the console too
    gateway_port: int = 0  # 0 chooses a free port
    nodes: Sequence[str] = NODES  # as `agentpool devcluster --node` takes them
    images: Sequence[str] = field(default=())  # NAME=DIR, as `agentpool devcluster --image` takes them


class Stack:
    """The children, from `start` to `stop`."""

    def __init__(
        self,
        options: StackOptions,
        workspace: Workspace,
        kept: KeptState | None = None,
        *,
        sink: Callable[[str, str], None],
        progress: Callable[[str], None],
    ) -> None:
        kept = kept or KeptState(None)
        self._options = options
        self._workspace = workspace
        self._sink = sink
        self._progress = progress
        self._children: list[tuple[Child, float]] = []  # with the seconds that each may take to stop
        self.redis_url = ""
        self.kubeconfig = (kept.directory or workspace.path) / "kubeconfig"
        self._kept = kept
        self._gateway_port = options.gateway_port  # chosen once: a restarted gateway keeps its URL
        self.gateway_url = ""  # empty: no gateway
        self._health_url = ""  # the operator's
        self.token = kept.value("token", lambda: secrets.token_urlsafe(24))  # has all verbs at the gateway
        self._webhook_key = kept.value("webhook-key", lambda: base64.b64encode(secrets.token_bytes(32)).decode())

    async def start(self) -> None:
        """Start everything. Raises a LocalError or SettingError; parts started by then still need `stop`."""
        self._check_options()
        began = time.monotonic()

        def announce(part: str, detail: str) -> None:
            self._progress(f"{part:<10} ready after {time.monotonic() - began:.1f} s{detail}")

        await self._start_redis()
        announce("redis", f" at {self.redis_url}")
        devcluster = await self._start_devcluster()
        await self._prepare_cluster()
        # The operator needs the API only; the nodes may become ready meanwhile.
        operator = await self._start_operator()
        gateway = await self._start_gateway() if self._options.gateway else None
        await devcluster.until_ready(
            self._nodes_are_ready, seconds=CLUSTER_START_SECONDS, missing="its nodes are not ready"
        )
        announce("devcluster", f", {len(self._options.nodes)} nodes")
        await operator.until_ready(
            lambda: _answers(self._health_url), seconds=OPERATOR_START_SECONDS, missing="its /readyz fails"
        )
        announce("operator", "")
        if gateway is not None:
            await gateway.until_ready(
                lambda: _answers(f"{self.gateway_url}/readyz"), seconds=GATEWAY_START_SECONDS, missing="no answer"
            )
            announce("gateway", f" at {self.gateway_url}")

    async def died(self) -> ChildDiedError:
        """Wait until a part ends that cannot be started again, and return the error.

        An operator or gateway that ends is restarted, as a Deployment does; everything else continues meanwhile. If the
        part ends repeatedly soon after its start, its error is returned.
        """
        restarts = {OPERATOR: self._start_operator, GATEWAY: self._start_gateway}
        early: Counter[str] = Counter()  # ends in a row soon after the start
        while True:
            child, death = await self._first_death()
            early[child.name] = early[child.name] + 1 if child.age_s < STEADY_SECONDS else 0
            if child.name not in restarts or early[child.name] > MOST_EARLY_ENDS:
                return death
            self._progress(f"{death.how}; starting it again")
            self._children = [(other, seconds) for other, seconds in self._children if other is not child]
            await asyncio.sleep(early[child.name])
            await restarts[child.name]()

    async def _first_death(self) -> tuple[Child, ChildDiedError]:
        waiting = {asyncio.create_task(child.died()): child for child, _ in self._children}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended = done.pop()
            return waiting[ended], ended.result()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def stop(self) -> None:
        """Stop the started parts, last first, to the end, even if cancelled meanwhile."""
        stopping = asyncio.create_task(self._stop_all())
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        stopping.result()

    def kill(self) -> None:
        """Give up waiting: kill the remaining parts."""
        for child, _ in self._children:
            child.kill()

    async def _stop_all(self) -> None:
        while self._children:
            child, seconds = self._children[-1]
            what = STOPPING.get(child.name, f"{child.name} to stop")
            notice = f"waiting for {what}, at most {seconds:g} s; Ctrl-C again kills whatever still runs"
            slow = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._progress, notice)
            try:
                await child.stop(seconds=seconds)
            finally:
                slow.cancel()
            self._children.pop()

    def _check_options(self) -> None:
        """Refuse unusable options before anything runs. Raises SettingError, which names the flag."""
        for flag, port in (("--api-port", self._options.api_port), ("--gateway-port", self._options.gateway_port)):
            check_port(flag, port)
        for image in self._options.images:
            check_image(image)
        for node in self._options.nodes:
            check_node(node)

    async def _start_redis(self) -> None:
        if self._options.redis_url is not None:
            await check_redis(self._options.redis_url)
            self.redis_url = self._options.redis_url
            return
        kept = self._kept.directory
        directory = self._workspace.directory("redis") if kept is None else kept / "redis"
        directory.mkdir(exist_ok=True)
        port = self._options.redis_port or self._kept.port("redis-port")
        server = await start_redis(directory, self._sink, port=port, append_only=kept is not None)
        self._children.append((server.child, REDIS_STOP_SECONDS))
        self.redis_url = server.url

    async def _start_devcluster(self) -> Child:
        images = [f"{EXAMPLE_IMAGE}={bundled(EXAMPLE)}", *self._options.images]
        options = {"--image": images, "--node": self._options.nodes}
        child = await self._spawn(
            DEVCLUSTER,
            f"--kubeconfig={self.kubeconfig}",
            f"--port={self._options.api_port or self._kept.port('api-port')}",
            f"--uid={self._kept.value('cluster-uid', lambda: str(uuid.uuid4()))}",
            *(f"{option}={value}" for option, values in options.items() for value in values),
            stop_seconds=CLUSTER_STOP_SECONDS,
        )
        await child.until_ready(self._api_answers, seconds=CLUSTER_START_SECONDS, missing="its API does not answer")
        return child

    async def _prepare_cluster(self) -> None:
        async with open_kubeconfig(self.kubeconfig) as cluster:
            await cluster.apply_crd(manifest(CRD))
            await cluster.put_redis(NAMESPACE, SECRET, self.redis_url)

    async def _start_operator(self) -> Child:
        port = free_port()
        self._health_url = f"http://{LOOPBACK}:{port}/readyz"
        return await self._spawn(
            OPERATOR,
            f"--kubeconfig={self.kubeconfig}",
            f"--health-host={LOOPBACK}",
            f"--health-port={port}",
            stop_seconds=OPERATOR_STOP_SECONDS,
        )

    async def _start_gateway(self) -> Child:
        tokens = self._private_file("tokens.json", json.dumps({"tokens": [{"name": "dev", "token": self.token}]}))
        self._gateway_port = self._gateway_port or self._kept.port("gateway-port")
        self.gateway_url = f"http://{LOOPBACK}:{self._gateway_port}"
        return await self._spawn(
            GATEWAY,
            f"--redis={self.redis_url}",
            f"--kubeconfig={self.kubeconfig}",
            f"--tokens={tokens}",
            f"--host={LOOPBACK}",
            f"--port={self._gateway_port}",
            "--log-level=warning",
            "--drain=0",  # no load balancer stands before it
            f"--webhook-keys={self._private_file('webhook-keys', f'whsec_{self._webhook_key}')}",
            *(f"--webhook-host={name}" for name in ("localhost", LOOPBACK)),
            f"--webhook-network={LOOPBACK}/32",
            stop_seconds=GATEWAY_STOP_SECONDS,
        )

    def _private_file(self, name: str, text: str) -> Path:
        """Write a file of the workspace that only this user may read; return its path."""
        path = self._workspace.path / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    async def _spawn(self, name: str, *arguments: str, stop_seconds: float) -> Child:
        argv = [sys.executable, "-m", "agentpool_core", name, *arguments]
        child = await Child.start(
            name,
            argv,
            cwd=self._workspace.path,
            sink=self._sink,
            environment={"PYTHONUNBUFFERED": "1", "TMPDIR": str(self._workspace.directory("tmp"))},
        )
        self._children.append((child, stop_seconds))
        return child

    async def _api_answers(self) -> bool:
        return await self._count_ready_nodes() is not None

    async def _nodes_are_ready(self) -> bool:
        return (await self._count_ready_nodes() or 0) >= len(self._options.nodes)

    async def _count_ready_nodes(self) -> int | None:
        """Return the number of ready nodes; None: the API does not answer."""
        if not self.kubeconfig.exists():
            return None
        try:
            async with open_kubeconfig(self.kubeconfig) as cluster:
                return await cluster.ready_nodes()
        except ClusterError:
            return None


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=ANSWER) as session, session.get(url) as response:
            return response.ok
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
