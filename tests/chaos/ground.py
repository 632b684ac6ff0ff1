"""Everything that a chaos run disturbs.

A Redis with a replica, a cluster of two nodes, two operators, a gateway, a pool.

Clients reach Redis through a `Line` and operators the API server through a `FaultyApi`; the referee (events, checks)
has a separate connection to the current primary. The next modules are `load`, which submits, `faults`, which disturbs,
and `checker`, which judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import psutil
import redis.asyncio

from agentpool_core.errors import ClusterError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import connect
from agentpool_core.queue.keys import Keys
from agentpool_core.spec.crd import custom_resource_definition
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.errors import KubeError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.resources import NODES, PODS
from agentpool_local.stack.cluster import open_kubeconfig
from tests.chaos.clocks import Clock
from tests.fixtures.faults import FaultyApi
from tests.fixtures.lines import Line
from tests.fixtures.redis import RedisServer, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).parent / "apps"
POOL = PoolRef("default", "chaos")
LIMITS = {"code": 2, "text": 3}  # of routes with constant limits
KINDS = {"code": ["code"], "text": ["text", "agent", "spend"]}  # of these routes
BUDGET = 40  # of the tenant that spends money, until all other jobs have ended
MONTH_SECONDS = 2_592_000
DAY_SECONDS = 86_400
ELASTIC = 4  # the maximum of the changing limit of the third route
LEASE_SECONDS = 2  # the minimum of an AgentPool
CLIENT_TIMEOUT_SECONDS = 5.0  # of the submitter's connection: a stalled connection is given up
START_WITHIN_SECONDS = 60.0
FAILOVER_WITHIN_SECONDS = 30.0
PUT_TRIES = 10
REDIS_OPTIONS = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")


def manifest(
    redis_url: str, environment: Mapping[str, str], changes: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the AgentPool under test, with the workers' environment and all earlier changes of the spec."""
    varied: dict[str, object] = {
        "concurrency": 4, "maxReplicas": 3, "elastic": ELASTIC, "task": 60, "retention": DAY_SECONDS, **(changes or {})
    }  # fmt: skip
    container = {
        "name": "worker",
        "image": "chaos",
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": POOL.name, "namespace": POOL.namespace},
        "spec": {
            **({"replicas": varied["replicas"]} if "replicas" in varied else {}),
            "handler": {"python": {"app": "chaos_app:app"}},
            "worker": {
                "concurrency": varied["concurrency"],
                "drainSeconds": 2,
                "template": {
                    "metadata": {"annotations": {"chaos/rollout": str(varied.get("rollout", 0))}},
                    "spec": {"containers": [container]},
                },
            },
            "routes": [
                *({"name": name, "kinds": KINDS[name], "maxRunning": limit} for name, limit in LIMITS.items()),
                {"name": "elastic", "kinds": ["flaky", "steps"], "maxRunning": varied["elastic"]},
            ],
            "queue": {
                "redis": {"url": redis_url},
                "leaseSeconds": LEASE_SECONDS,
                "timeoutSeconds": 20,
                "patienceSeconds": {"task": varied["task"]},
                "retentionSeconds": {"results": varied["retention"], "dead": varied["retention"]},
                "limits": [
                    {"name": "money", "by": "tenant", "budget": {"amount": BUDGET, "windowSeconds": MONTH_SECONDS}}
                ],
                "retry": {"maxAttempts": 8, "initialSeconds": 0, "maxSeconds": 1},
            },
            "scaling": {
                "minReplicas": 0,
                "maxReplicas": varied["maxReplicas"],
                "pollSeconds": 1,
                "targetWaitSeconds": 60,  # longer than a start on a busy machine: no worker is kept warm
                "idleSeconds": 2,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 2}},
            },
        },
    }


class Machine:
    """A process with a log, restarted on request."""

    def __init__(self, log: Path, *arguments: str, clock: Clock | None = None) -> None:
        self._log = log
        self._arguments = arguments
        self._environment = os.environ | (clock.environment if clock else {})
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = psutil.Popen(
                [sys.executable, "-m", *self._arguments], stdout=out, stderr=out, cwd=ROOT, start_new_session=True,
                env=self._environment,
            )  # fmt: skip

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.running():
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.running():
            self.process.kill()
            self.process.wait()

    async def stop(self, within_s: float = 30.0) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        with contextlib.suppress(psutil.TimeoutExpired):
            await asyncio.to_thread(self.process.wait, within_s)
        self.kill()

    def family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self.process, *self.process.children(recursive=True)] if self.running() else []
        return []


class Ground:
    """The whole system of one run."""

    def __init__(self, directory: Path, changes: Mapping[str, object] | None = None) -> None:
        self.directory = directory
        self.record = directory / "runs"
        self.clocks = {name: Clock(directory / f"clock-{name}") for name in ("redis", "workers", "operators")}
        by_clock = self.clocks["redis"].environment
        self.redis, self.replica = (RedisServer(*REDIS_OPTIONS, environment=by_clock) for _ in range(2))
        self.redis_line, self.referee_line = (Line(lambda: self.redis.port) for _ in range(2))
        self.kubeconfig = directory / "kubeconfig"
        self.api_proxy = FaultyApi(self.kubeconfig, directory / "kubeconfig-through-proxy")
        self.api = Machine(directory / "api.log", "tests.chaos.machines", "api", str(self.kubeconfig))
        self.nodes = [
            Machine(
                directory / f"node-{name}.log", "tests.chaos.machines", "node", str(self.kubeconfig), f"{name},cpu=8",
                str(directory / name), str(APPS),
            )
            for name in ("a", "b")
        ]  # fmt: skip
        operator = ("agentpool_core", "operator", "--kubeconfig", str(self.api_proxy.kubeconfig))
        serving = ("--health-host", "127.0.0.1", "--health-port", "0")
        self.operators = [
            Machine(directory / f"operator-{n}.log", *operator, *serving, clock=self.clocks["operators"])
            for n in range(2)
        ]
        self._gateway_port = free_port()
        self.changes: dict[str, object] = dict(changes or {})  # of the AgentPool, see `manifest`
        self.seen: set[psutil.Process] = set()  # every process of the run, past ones included

    @property
    def redis_url(self) -> str:
        return self.redis_line.url

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self._gateway_port}"

    async def start(self) -> None:
        self.record.touch()
        self.redis.start()
        self.replica.start()
        await self.follow()
        await self.redis_line.open()
        await self.referee_line.open()
        self.api.start()
        await wait_until(lambda: self.kubeconfig.exists() and self.kubeconfig.stat().st_size, "the API server is up",
                         within_s=START_WITHIN_SECONDS)  # fmt: skip
        await self.api_proxy.start()
        for node in self.nodes:
            node.start()
        async with open_kubeconfig(self.kubeconfig) as cluster:
            await cluster.apply_crd(custom_resource_definition())
        await self.apply()
        arguments = ("--redis", self.redis_url, "--no-auth", "--port", str(self._gateway_port), "--rate", "0")
        log, clock = self.directory / "gateway.log", self.clocks["operators"]
        self.gateway = Machine(log, "agentpool_core", "gateway", *arguments, clock=clock)
        for machine in (*self.operators, self.gateway):
            machine.start()
        self.direct = connect(self.referee_line.url)
        self.client = connect(self.redis_url, socket_timeout=CLIENT_TIMEOUT_SECONDS)

        async def served() -> bool:
            return await self._published() and await self.ready_nodes() == len(self.nodes)

        await wait_until(served, "the operator has published the pool's settings", within_s=START_WITHIN_SECONDS)

    async def _published(self) -> bool:
        return bool(await self.direct.exists(Keys(POOL).conf))

    async def follow(self) -> None:
        """Start the replication: a new server follows no primary."""
        async with connected(self.replica) as replica:
            await replica.execute_command("REPLICAOF", "127.0.0.1", self.redis.port)

    async def fail_over(self) -> None:
        """Make the replica the primary after the last write, and redirect all clients."""
        deadline = time.monotonic() + FAILOVER_WITHIN_SECONDS
        async with connected(self.redis) as old, connected(self.replica) as new:
            while (await new.execute_command("ROLE"))[0] != b"master":
                assert time.monotonic() < deadline, f"no failover: {await old.info('replication')}"
                # The replica is not ready yet, or a failover is in progress.
                with contextlib.suppress(redis.ResponseError):
                    await old.execute_command("FAILOVER", "TIMEOUT", 2000)
                await asyncio.sleep(0.05)
        self.redis, self.replica = self.replica, self.redis
        self.redis_line.reset()
        self.referee_line.reset()

    async def roll_back(self, kept: Mapping[Path, bytes], restored: Callable[[str], None]) -> None:
        """Restart Redis with the kept state; `restored` gets the newest event before any client may connect."""
        lines = (self.redis_line, self.referee_line)
        for line in lines:
            line.cut()
        await asyncio.to_thread(self.redis.go_back, kept)
        async with connected(self.redis) as server:
            newest = await server.xrevrange(Keys(POOL).events, count=1)
        restored(newest[0][0].decode() if newest else "0-0")
        for line in lines:
            line.mend()

    async def apply(self, **changes: object) -> None:
        """Apply the AgentPool with these changes on top of earlier changes."""
        self.changes |= changes
        at = paths.agentpools(POOL.namespace, POOL.name)
        environment = {"CHAOS_RECORD": str(self.record), **self.clocks["workers"].environment}
        async with open_kubeconfig(self.kubeconfig) as cluster:
            for _ in range(PUT_TRIES):
                with contextlib.suppress(ClusterError):  # the operator wrote in between
                    await cluster.apply(at, manifest(self.redis_url, environment, self.changes))
                    return
        raise AssertionError(f"the AgentPool could not be written in {PUT_TRIES} tries")

    def workers(self) -> list[psutil.Process]:
        """Return the running workers' supervisors, which forward signals to their workers."""
        return [each for node in self.nodes for each in node.family() if _is_worker(each)]

    def note_processes(self) -> None:
        for machine in (self.api, *self.nodes, *self.operators, self.gateway):
            self.seen.update(machine.family())

    @contextlib.asynccontextmanager
    async def kube(self) -> AsyncIterator[KubeClient]:
        async with KubeClient(read_kubeconfig(self.kubeconfig), user_agent="chaos") as client:
            yield client

    async def ready_nodes(self) -> int:
        async with self.kube() as client:
            nodes = (await client.list(NODES, None))["items"] or []
        ready = [c for n in nodes for c in n.get("status", {}).get("conditions", []) if c["type"] == "Ready"]
        return sum(condition["status"] == "True" for condition in ready)

    async def size(self) -> tuple[int, int, int]:
        """Return desired replicas, existing pods and worker processes."""
        async with self.kube() as client, open_kubeconfig(self.kubeconfig) as cluster:
            state = await cluster.pool(POOL)
            pods = (await client.list(PODS, POOL.namespace))["items"] or []
        return state.desired if state else -1, len(pods), len(self.workers())

    async def operator_view(self) -> object:
        """Return the operator's view: the status of AgentPool and Deployment, and the metrics of the decision."""
        async with open_kubeconfig(self.kubeconfig) as cluster:
            pool = (await cluster.read(paths.agentpools(POOL.namespace, POOL.name))) or {}
            deployment = (await cluster.read(paths.deployments(POOL.namespace, POOL.name))) or {}
        return {"pool": pool.get("status"), "deployment": deployment.get("status"), "metrics": await self._metrics()}

    async def _metrics(self) -> list[str]:
        found = []
        async with aiohttp.ClientSession() as session:
            for log in self.directory.glob("operator-*.log"):
                for port in re.findall(r"/metrics on port (\d+)", log.read_text()):
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                            found += [
                                line
                                for line in (await answer.text()).splitlines()
                                if re.match(r"agentpool_pool_(wanted|desired|capped|slots)", line)
                            ]
        return found

    async def stop(self) -> None:
        self.note_processes()
        await self.direct.aclose()
        with contextlib.suppress(Exception):
            await self.client.aclose()
        for machine in (self.gateway, *self.operators, *self.nodes, self.api):
            with contextlib.suppress(KubeError, psutil.Error):
                await machine.stop()
        await self.api_proxy.stop()
        await self.redis_line.aclose()
        await self.referee_line.aclose()
        self.replica.close()
        self.redis.close()
        for clock in self.clocks.values():
            clock.close()

    def survivors(self) -> list[str]:
        """Return processes of the run that are still alive."""
        return [str(each) for each in self.seen if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    def runs(self) -> list[dict[str, object]]:
        """Return the handlers' log lines, without a last line that a kill cut short."""
        lines = self.record.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


@contextlib.asynccontextmanager
async def connected(server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of one server."""
    async with redis.asyncio.Redis.from_url(server.url) as client:
        yield client


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        parent = process.parent()
        return _runs_worker(process) and not (parent is not None and _runs_worker(parent))
    return False


def _runs_worker(process: psutil.Process) -> bool:
    match process.cmdline():
        case [_, program, "worker", *_] if process.status() != psutil.STATUS_ZOMBIE:
            return Path(program).name == "agentpool"
    return False
