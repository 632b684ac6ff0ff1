"""Caches of deleted pools: the operator keeps no credential and no endless list."""

from __future__ import annotations

import base64
from types import SimpleNamespace

from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import ForbiddenError
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.resync import Resync
from agentpool_operator.queue.purge import Purger
from agentpool_operator.queue.secrets import Secrets
from agentpool_operator.settings import ScalingLoopSettings

REF = PoolRef("ns", "p")
SPEC = {"handler": {"command": {"argv": ["true"]}}}
URL = "redis://:password@h:6379/0"


def resource(name="p", namespace="ns"):
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"u-{name}", "resourceVersion": "1"},
        "spec": SPEC,
    }


class Server:
    """An API server with a Secret for pools."""

    def __init__(self):
        self.reads = 0

    async def get(self, _path):
        self.reads += 1
        labels = {"agentpool.dev/redis": "true"}
        return {"metadata": {"labels": labels}, "data": {"url": base64.b64encode(URL.encode()).decode()}}


async def test_the_secret_of_a_deleted_pool_is_forgotten():
    """A later pool of that name reads the Secret again."""
    server, pools = Server(), Pools()
    secrets = Secrets(server, ScalingLoopSettings())
    pools.see_pool(resource())
    pool = pools.get(REF)
    for _ in range(2):
        assert (await secrets.address(REF, pool.spec)).url == URL
        secrets.keep_only(pools)
    assert server.reads == 1
    pools.see_pool(resource(), gone=True)
    secrets.keep_only(pools)
    await secrets.address(REF, pool.spec)
    assert server.reads == 2


async def test_the_urls_of_deleted_pools_are_forgotten():
    """The purger keeps a URL while a purge waits, and no longer."""
    purger = Purger(SimpleNamespace(), None, leading=lambda: True)
    purger._unwritten[URL, REF] = "note"
    purger._noted[URL, REF] = "note"
    purger.waiting.add(URL)
    purger.keep_only(set())
    assert purger._noted
    purger.waiting.clear()
    purger.keep_only(set())
    assert not purger._noted
    assert not purger._unwritten


def test_pods_of_unknown_pools_leave_no_trace():
    """A label of any name costs memory only while the pod exists."""
    pools = Pools()
    pod = {"metadata": {"name": "x", "namespace": "ns", "uid": "x", "labels": {"agentpool.dev/pool": "unknown"}}}
    pools.see_pod(pod)
    pools.see_pod(pod, gone=True)
    assert pools._orphans == {}


async def test_a_namespace_that_refuses_the_lists_does_not_stop_the_rest():
    """The pools of the remaining namespaces are listed."""
    pools = Pools()

    async def listed(path, **_):
        if "/forbidden/" in path:
            raise ForbiddenError(request=path, status=403, message="forbidden")
        return ([resource(namespace="allowed")] if path.endswith("agentpools") else []), "1"

    await Resync(SimpleNamespace(list=listed), pools, namespaces=("forbidden", "allowed"), every_s=1).run_once()
    assert [str(pool.ref) for pool in pools] == ["allowed/p"]
