"""All served pools with their last observed state: resource, Deployment, pods.

Fed by the watches (`watch_handlers`) and by full lists (`resync`); every change requests a pass over the pool, and the
passes of `reconciler` work on the state, never on the kind of event. In memory only: after a restart the lists fill the
registry again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import SpecError
from agentpool_core.jobs import PoolRef
from agentpool_core.text import frames_of
from agentpool_operator.pools.parsing import check_name, spec_of
from agentpool_operator.pools.pool import Children, Declared, Pool
from agentpool_operator.pools.problems import Problem, unexpected_problem
from agentpool_operator.pools.views import (
    DeploymentView,
    PodView,
    deployment_view,
    is_later,
    pod_view,
    pool_of,
    trim_resource,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A collection at a moment."""

    items: list[Json]
    version: str  # the collection's resourceVersion: later objects cannot be in it


class Pools:
    """The registry."""

    def __init__(self) -> None:
        self._pools: dict[PoolRef, Pool] = {}
        self._orphans: dict[PoolRef, dict[str, PodView]] = {}  # pods seen before their pool
        self._deployments: dict[PoolRef, DeploymentView] = {}
        self._requested: set[PoolRef] = set()
        self._pass_requested = asyncio.Event()
        self._deleted: asyncio.Queue[Pool] = asyncio.Queue()

    def __iter__(self) -> Iterator[Pool]:
        return iter(list(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)

    def get(self, ref: PoolRef) -> Pool | None:
        """Return the pool of that name; None if there is none."""
        return self._pools.get(ref)

    def see_pool(self, resource: Json, *, gone: bool = False) -> None:
        """Record an AgentPool as seen, or as gone."""
        ref, resource = _ref(resource), trim_resource(resource)
        known = self._pools.get(ref)
        if gone:
            if known is not None and known.uid == resource["metadata"]["uid"]:
                self._pools.pop(ref)
                self._deleted.put_nowait(known)
            return
        if known is not None and known.uid != resource["metadata"]["uid"]:
            self._deleted.put_nowait(known)
            known = None
        if known is None:
            children = Children(self._deployments.get(ref), self._orphans.setdefault(ref, {}))
            known = self._pools[ref] = Pool(ref=ref, declared=Declared(resource=resource), children=children)
        elif known.spec is not None and known.resource.get("spec") == resource.get("spec"):
            self.set_resource(known, resource)
            if known.deleting:
                self.request_pass(ref)
            return
        known.declared = _parse(ref, resource, ignored=known.declared.ignored_fields)
        self.request_pass(ref)

    def set_resource(self, pool: Pool, resource: Json) -> None:
        """Keep a newer version of the resource with the same spec, such as the answer to our own write."""
        pool.declared = replace(pool.declared, resource=resource)

    def see_deployment(self, deployment: Json, *, gone: bool = False) -> None:
        """Record a Deployment with the operator's label as seen, or as gone."""
        ref = _ref(deployment)
        view = None if gone else deployment_view(deployment)
        known = self._deployments.get(ref)
        if view is not None and known is not None and known.newer_than(view):
            return  # a watch lags behind the result of our own write
        if view is None:
            self._deployments.pop(ref, None)
        else:
            self._deployments[ref] = view
        pool = self._pools.get(ref)
        if pool is not None:
            pool.children.deployment = view
            self.request_pass(ref)

    def set_deployment(self, pool: Pool, view: DeploymentView | None) -> None:
        """Keep the API server's answer to our own read or write, unless a watch was faster."""
        known = self._deployments.get(pool.ref)
        if view is not None and known is not None and known.as_new_as(view):
            pool.children.deployment = known
            return
        pool.children.deployment = view
        if view is None:
            self._deployments.pop(pool.ref, None)
        else:
            self._deployments[pool.ref] = view

    def see_pod(self, pod: Json, *, gone: bool = False) -> None:
        """Record a worker's pod as seen, or as gone."""
        ref = pool_of(pod)
        if ref is None:
            return
        pods = self._orphans.setdefault(ref, {})
        if gone:
            pods.pop(pod["metadata"]["name"], None)
            if not pods and ref not in self._pools:
                del self._orphans[ref]
        else:
            known, seen = pods.get(pod["metadata"]["name"]), pod_view(pod)
            if known is not None and known.trouble and known.resource_version == seen.resource_version != "":
                return  # listed again without change; keep data that came from its events
            pods[seen.name] = seen
        if ref in self._pools:
            self.request_pass(ref)

    def see_delay(self, ref: PoolRef, pod: PodView, reason: str, message: str) -> None:
        """Record a node's reason for a slow start of a pod; cleared by a change of the pod."""
        pods = self._orphans.get(ref, {})
        changed = replace(pod, trouble=reason, trouble_message=message)
        if pods.get(pod.name) == pod != changed:
            pods[pod.name] = changed
            self.request_pass(ref)

    def see_all(self, namespace: str | None, *, resources: Listing, deployments: Listing, pods: Listing) -> None:
        """Apply full lists of a namespace (None: of all): missing objects are gone, unless younger than the lists."""

        def here(ref: PoolRef) -> bool:
            return namespace is None or ref.namespace == namespace

        listed = {_ref(resource) for resource in resources.items}
        for pool in [p for p in self if here(p.ref) and p.ref not in listed]:
            if not is_later(version_of(pool.resource), resources.version):
                self.see_pool(pool.resource, gone=True)
        children = {_ref(deployment) for deployment in deployments.items}
        for ref in [r for r in self._deployments if here(r) and r not in children]:
            view = self._deployments[ref]
            if not is_later(view.resource_version, deployments.version):
                self.see_deployment(view.raw, gone=True)
        self._forget_pods(here, pods)
        for resource in resources.items:
            known = self._pools.get(_ref(resource))
            if known is None or not is_later(version_of(known.resource), version_of(resource)):
                each(self.see_pool, resource)
        for deployment in deployments.items:
            each(self.see_deployment, deployment)
        for pod in pods.items:
            each(self.see_pod, pod)

    def _forget_pods(self, here: Callable[[PoolRef], bool], listing: Listing) -> None:
        names = {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in listing.items}
        for ref, known in self._orphans.items():
            gone = [n for n in known if here(ref) and (ref.namespace, n) not in names]
            for name in gone:
                if not is_later(known[name].resource_version, listing.version):
                    del known[name]

    async def next_deleted(self) -> Pool:
        """Wait for the next pool that has been deleted."""
        return await self._deleted.get()

    def request_pass(self, ref: PoolRef) -> None:
        """Request a pass over the pool."""
        self._requested.add(ref)
        self._pass_requested.set()

    def request_all_passes(self) -> None:
        """Request a pass over every pool."""
        for ref in self._pools:
            self.request_pass(ref)

    async def requested_passes(self) -> set[PoolRef]:
        """Wait until a pass is requested; return all requested pools."""
        await self._pass_requested.wait()
        self._pass_requested.clear()
        taken, self._requested = self._requested, set()
        return taken


def each(see: Callable[..., None], thing: Json, *, gone: bool = False) -> None:
    """Pass a single object to the registry; log an unreadable object, and continue with the rest."""
    try:
        see(thing, gone=gone)
    except Exception as error:  # noqa: BLE001 - an object of one tenant must not hide the objects of others
        metadata = thing.get("metadata") or {}
        name = f"{metadata.get('namespace')}/{metadata.get('name')}"
        reader = getattr(see, "func", see).__name__  # of a partial, too
        text = "%s %s cannot be read and is left out:\n%s"
        log.error(text, reader, name, frames_of(error))  # noqa: TRY400 - without the error's text


def _ref(resource: Json) -> PoolRef:
    return PoolRef(resource["metadata"]["namespace"], resource["metadata"]["name"])


def _parse(ref: PoolRef, resource: Json, *, ignored: frozenset[str]) -> Declared:
    """Parse the spec of a resource; `ignored` are the unknown fields that were logged before."""
    try:
        check_name(ref.name)
        spec, unknown = spec_of(resource)
    except SpecError as error:
        problem = Problem(reason="InvalidSpec", message=str(error))
    except Exception as error:  # noqa: BLE001 - a spec may hold anything
        log.error("the spec of pool %s cannot be read:\n%s", ref, frames_of(error))  # noqa: TRY400 - no texts
        problem = unexpected_problem(error, reason="InvalidSpec", doing="reading the spec")
    else:
        _log_unknown(ref, unknown - ignored)
        return Declared(resource=resource, spec=spec, ignored_fields=ignored | unknown)
    return Declared(resource=resource, problem=problem, ignored_fields=ignored)


def _log_unknown(ref: PoolRef, fields: frozenset[str]) -> None:
    if fields:
        text = "pool %s: this operator is older than the CRD and ignores %s; upgrade the operator"
        log.warning(text, ref, ", ".join(sorted(fields)))
