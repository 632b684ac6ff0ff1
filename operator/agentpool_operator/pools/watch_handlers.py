"""kopf's wiring: watches that feed the registry, and nothing else.

Only `on.event` handlers: they need no finalizers, annotations or patches of kopf's, so the deletion of an AgentPool
never waits for the operator. Server-side selectors exclude foreign objects. `watch_thread` runs them; `reconciler` and
`loop` take over next.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import kopf

from agentpool_core.spec import GROUP, PLURAL, VERSION
from agentpool_operator.kube.connection import kopf_connection
from agentpool_operator.pools.registry import each
from agentpool_operator.pools.views import POOL_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.aio import client as kube

    from agentpool_operator.pools.registry import Pools

    PassOn = Callable[[Callable[[], None]], object]  # calls this in the event loop that owns the registry

AGENTPOOLS = (GROUP, VERSION, PLURAL)
DEPLOYMENTS = ("apps", "v1", "deployments")
PODS = ("", "v1", "pods")
WATCHED = (AGENTPOOLS, DEPLOYMENTS, PODS)
CONNECT_TIMEOUT_S = 10.0  # seconds
REQUEST_TIMEOUT_S = 30.0  # seconds
EXIT_S = 0.2  # seconds for the handlers to end: they only take notes
FIRST_BACKOFFS_S = (0.2, 0.5, 1.0, 2.0)  # seconds before a request of a watch is tried again
LASTING_BACKOFF_S = 5.0  # seconds, from then on
WATCH_S = 290  # seconds: the server closes a watch after this, below common proxies' 300 s


class Backoffs:
    """Pauses between attempts that never end: by default kopf's watches die when the API is away for a minute."""

    def __iter__(self) -> Iterator[float]:
        """Yield growing pauses, then equal pauses for ever."""
        return chain(FIRST_BACKOFFS_S, repeat(LASTING_BACKOFF_S))


def watches(pools: Pools, connection: kube.Configuration, pass_on: PassOn) -> kopf.OperatorRegistry:
    """The handlers that keep the registry fed, from whatever event loop they run in."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await kopf_connection(connection)

    @kopf.on.event(*AGENTPOOLS, registry=registry)
    async def see_pool(event: Any, **_: Any) -> None:
        pass_on(partial(each, pools.see_pool, dict(event["object"]), gone=event["type"] == "DELETED"))

    @kopf.on.event(*DEPLOYMENTS, registry=registry)
    async def see_deployment(event: Any, **_: Any) -> None:
        pass_on(partial(each, pools.see_deployment, dict(event["object"]), gone=event["type"] == "DELETED"))

    @kopf.on.event(*PODS, registry=registry)
    async def see_pod(event: Any, **_: Any) -> None:
        pass_on(partial(each, pools.see_pod, dict(event["object"]), gone=event["type"] == "DELETED"))

    return registry


def watch_settings() -> kopf.OperatorSettings:
    """Settings under which kopf only watches and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # `watch_thread` scans itself
    settings.process.ultimate_exiting_timeout = None  # else kopf kills the process later
    settings.networking.connect_timeout = CONNECT_TIMEOUT_S
    settings.networking.request_timeout = REQUEST_TIMEOUT_S
    settings.queueing.exit_timeout = EXIT_S
    settings.networking.error_backoffs = Backoffs()
    settings.watching.connect_timeout = CONNECT_TIMEOUT_S
    settings.watching.server_timeout = WATCH_S
    settings.watching.label_selectors[DEPLOYMENTS] = POOL_LABEL
    settings.watching.label_selectors[PODS] = POOL_LABEL
    settings.persistence.finalizer = f"{GROUP}/never-set"
    settings.persistence.progress_storage = kopf.StatusProgressStorage(field="status.neverSet")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    return settings


def quiet_kopf() -> None:
    """Reduce kopf's logging: kopf logs every handled event, and its warnings suffice."""
    for name in ("kopf", "kopf.objects", "kopf.activities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("running", "orchestration", "observation"):  # their messages reach us as an exception, logged once
        logging.getLogger(f"kopf._core.reactor.{name}").setLevel(logging.CRITICAL)
