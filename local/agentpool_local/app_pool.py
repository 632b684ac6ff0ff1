"""The pool of `agentpool dev APP`: an AgentPool for the user's App, with new workers after each change of the code.

A change of a source file changes an annotation of the pod template, as `kubectl rollout restart` does: the Deployment
replaces the workers, and the old workers drain. The routes have the App's kinds and the schemas of its models, as
`agentpool schemas` prints them. `dev` runs `AppPool.follow` beside the stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentpool_core.errors import ClusterError, SettingError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, connect
from agentpool_local.app_check import read_routes
from agentpool_local.errors import AppError, NotReadyError
from agentpool_local.stack.cluster import open_kubeconfig
from agentpool_local.stack.stack import NAMESPACE, SECRET
from agentpool_worker.reload import changed_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_local.stack.cluster import Cluster

POLL_SECONDS = 0.5
READY_SECONDS = 30.0  # for the operator to configure the pool
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"  # `kubectl rollout restart` sets the same annotation
PAUSING = "agentpool-pause"  # field manager of a pause of an earlier run
MAX_NAME_CHARS = 50
FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class AppPool:
    """A pool for an App, `module:attribute`, with workers that run in `directory`."""

    app: str
    directory: Path  # absolute: the working directory of the pods
    name: str  # of the AgentPool, and of the image of the pods

    @classmethod
    def of(cls, app: str, directory: Path) -> Self:
        """Return the pool for an App, named after the module. Raises SettingError for an App that cannot be found."""
        if not FORM.fullmatch(app):
            raise SettingError(
                field="APP", value=app, problem="is not module:attribute", remedy="write my_agent:app for my_agent.py"
            )
        module = app.partition(":")[0]
        if not _is_there(module.partition(".")[0], directory):
            raise SettingError(
                field="APP",
                value=app,
                problem=f"{directory} has no module {module}",
                remedy="run agentpool dev in the directory that contains the module",
            )
        name = re.sub(r"[^a-z0-9]+", "-", module.rpartition(".")[2].lower()).strip("-")[:MAX_NAME_CHARS].strip("-")
        return cls(app=app, directory=directory, name=name or "app")

    @property
    def ref(self) -> PoolRef:
        """The pool's namespace and name."""
        return PoolRef(NAMESPACE, self.name)

    @property
    def image(self) -> str:
        """The image of the pods, in the form of `agentpool devcluster --image`."""
        return f"dev/{self.name}={self.directory}"

    def manifest(self, restarted_at: str | None = None, routes: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the AgentPool; a new `restarted_at` replaces the workers."""
        template: dict[str, Any] = {"spec": {"containers": [{"name": "worker", "image": f"dev/{self.name}:1"}]}}
        if restarted_at:
            template["metadata"] = {"annotations": {RESTARTED_AT: restarted_at}}
        return {
            "apiVersion": "agentpool.dev/v1alpha1",
            "kind": "AgentPool",
            "metadata": {"name": self.name},
            "spec": {
                "handler": {"python": {"app": self.app}},
                "routes": [*routes],
                "worker": {"template": template},
                "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": SECRET, "key": "url"}}}},
            },
        }

    async def check(self) -> str | None:
        """Import the App; return its first kind, or None if the import takes long.

        Raises AppError for an App that no worker could serve.
        """
        routes = await read_routes(self.app, self.directory)
        return str(routes[0]["kinds"][0]) if routes else None

    async def start(self, kubeconfig: Path, redis_url: str) -> None:
        """Apply the pool and wait until the pool takes jobs. Raises NotReadyError.

        A pool with a queue that an earlier run has paused stays paused.
        """
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        async with open_kubeconfig(kubeconfig) as cluster:
            if await _is_paused(self.ref, redis_url):
                await self._begin_paused(cluster)
            await self._apply(cluster, None)
            while not (state := await cluster.pool(self.ref)) or not state.ready:
                if asyncio.get_running_loop().time() > deadline:
                    raise NotReadyError(f"pool {self.name}", READY_SECONDS, state.reason if state else "it is gone")
                await asyncio.sleep(POLL_SECONDS)

    async def follow(self, kubeconfig: Path, say: Callable[[str], None]) -> None:
        """Apply the pool again after each change of a source file, and report why the pool is not ready."""
        seen: dict[Path, float] = {}
        changed_files(self.directory, seen)
        reported, restarted_at = "", None
        async with open_kubeconfig(kubeconfig) as cluster:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                if changed := await asyncio.to_thread(changed_files, self.directory, seen):
                    say(f"{changed[0].relative_to(self.directory)} changed: pool {self.name} gets new workers")
                    restarted_at = datetime.now(UTC).isoformat()
                with contextlib.suppress(ClusterError):  # repeated in the next round
                    if restarted_at:
                        await self._apply(cluster, restarted_at)
                        restarted_at = None
                    reported = await self._report(cluster, reported, say)

    async def _apply(self, cluster: Cluster, restarted_at: str | None) -> None:
        try:
            routes = await read_routes(self.app, self.directory)
        except AppError:  # the workers report the error, and the pool's status repeats it
            routes = []
        await cluster.apply(paths.agentpools(NAMESPACE, self.name), self.manifest(restarted_at, routes))

    async def _begin_paused(self, cluster: Cluster) -> None:
        """Create the pool, paused; `agentpool-pause` owns the field, so a change of the code resumes nothing."""
        body = self.manifest()
        body["spec"]["paused"] = True
        await cluster.apply(paths.agentpools(NAMESPACE, self.name), body, manager=PAUSING)

    async def _report(self, cluster: Cluster, reported: str, say: Callable[[str], None]) -> str:
        """Report a new reason why the pool is not ready; return the reason."""
        state = await cluster.pool(self.ref)
        if state is None or (not state.ready and not state.reason):
            return reported
        reason = "" if state.ready else state.reason
        if reason != reported:
            say(f"pool {self.name}: {reason or 'ready'}")
        return reason


async def _is_paused(pool: PoolRef, redis_url: str) -> bool:
    """Return whether the queue of the pool is paused; a new queue is not."""
    redis = connect(redis_url)
    try:
        return (await Inspector(redis).settings(pool)).paused
    except UnknownPoolError:
        return False
    finally:
        await redis.aclose()


def _is_there(module: str, directory: Path) -> bool:
    """Report whether a top-level module is in the directory or installed; nothing is imported."""
    if (directory / f"{module}.py").is_file() or (directory / module).is_dir():
        return True
    return importlib.util.find_spec(module) is not None
