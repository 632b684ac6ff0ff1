"""kopf's wiring: handlers and settings under which kopf only watches.

All handlers are `on.event` handlers. They need no finalizers, annotations or patches of kopf's, so the deletion of an
AgentPool never waits for the operator. Server-side selectors exclude foreign objects. `watch_thread` runs kopf with
this wiring; `registry` stores the observed objects.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import kopf

from agentpool_core.spec import GROUP, PLURAL, VERSION
from agentpool_operator.pools.kopf_connection import kopf_connection
from agentpool_operator.pools.registry import each
from agentpool_operator.pools.views import POOL_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.aio import client as kube

    from agentpool_operator.pools.registry import Pools

    PassOn = Callable[[Callable[[], None]], object]  # calls this in the event loop that owns the registry


class Kind(NamedTuple):
    """A kind of objects, in the terms of the API server's discovery."""

    group: str  # empty = core
    version: str
    plural: str


AGENTPOOLS = Kind(GROUP, VERSION, PLURAL)
DEPLOYMENTS = Kind("apps", "v1", "deployments")
PODS = Kind("", "v1", "pods")
WATCHED = frozenset({AGENTPOOLS, DEPLOYMENTS, PODS})
CONNECT_TIMEOUT_SECONDS = 10.0
REQUEST_TIMEOUT_SECONDS = 30.0
EXIT_SECONDS = 0.2  # for running handlers to end; they only pass events on
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)  # between attempts of a request; after the last, the error ends kopf
WATCH_SECONDS = 290  # the server closes a watch after this time, which is below the 300 s of common proxies


class Discovery:
    """The watched kinds that kopf has found in the API server's discovery. Used in kopf's event loop only."""

    def __init__(self) -> None:
        self.missing = set(WATCHED)
        self.complete = asyncio.Event()

    def selector(self, kind: Kind) -> Callable[[kopf.Resource], bool]:
        """Return a resource selector that selects `kind`, and notes that kopf has found it."""

        def is_watched(resource: kopf.Resource) -> bool:
            if Kind(resource.group, resource.version, resource.plural) != kind:
                return False
            self.missing.discard(kind)
            if not self.missing:
                self.complete.set()
            return True

        return is_watched


class NoDiffs(kopf.DiffBaseStorage):
    """Storage without content: event handlers need no diffs, and kopf would copy every object to compute one."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return the same empty essence for all objects."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return no last state."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


def handlers(
    pools: Pools, connection: kube.Configuration, discovery: Discovery, pass_on: PassOn
) -> kopf.OperatorRegistry:
    """Return the handlers that pass all watched objects on to the registry."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await kopf_connection(connection)

    def watch(kind: Kind, see: Callable[..., None]) -> None:
        # The group beside the selector keeps kopf's discovery to this group.
        @kopf.on.event(
            discovery.selector(kind), group=kind.group, version=kind.version, id=kind.plural, registry=registry
        )
        async def pass_event_on(event: Any, **_: Any) -> None:
            pass_on(partial(each, see, dict(event["object"]), gone=event["type"] == "DELETED"))

    watch(AGENTPOOLS, pools.see_pool)
    watch(DEPLOYMENTS, pools.see_deployment)
    watch(PODS, pools.see_pod)
    return registry


def watch_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf only watches and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no right to list definitions or namespaces; `watches` checks instead
    settings.process.ultimate_exiting_timeout = None  # else kopf kills the process ten minutes after broken watches
    settings.networking.connect_timeout = CONNECT_TIMEOUT_SECONDS
    settings.networking.request_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.error_backoffs = RETRY_SECONDS
    settings.queueing.exit_timeout = EXIT_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.label_selectors[DEPLOYMENTS] = POOL_LABEL
    settings.watching.label_selectors[PODS] = POOL_LABEL
    settings.persistence.finalizer = f"{GROUP}/never-set"  # kopf removes its default finalizer from foreign objects
    settings.persistence.diffbase_storage = NoDiffs()
    return settings


def quiet_kopf() -> None:
    """Reduce kopf's log to problems of single objects: an error that ends kopf is raised, and `watches` logs it."""
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
