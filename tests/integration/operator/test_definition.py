"""AgentPool's definition appears late, disappears and returns while the operator runs."""

from __future__ import annotations

import aiohttp

from agentpool_core.doctor.cluster import CRD_PATH
from agentpool_core.spec import GROUP, VERSION
from agentpool_core.spec.crd import custom_resource_definition
from tests.fixtures.redis import wait_until

from .conftest import submit

SERVING = ("True", "Serving")
MISSING = f"does not serve agentpools of {GROUP}/{VERSION}"


async def readiness(process) -> int | None:
    """Return the answer of the operator's readiness probe, or None before the port opens."""
    port = process.port()
    if port is None:
        return None
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
        return answer.status


async def test_a_kind_that_is_served_late_is_watched_from_then_on(start_operator, faulty_api, pool_of, look, until):
    """An API server announces a new definition before serving the kind: an early watch would miss every pool."""
    late = (lambda _method, path: path == f"/apis/{GROUP}/{VERSION}", 404, {"reason": "NotFound"})
    faulty_api.faults.extend([late] * 2)
    process = start_operator("--kubeconfig", str(faulty_api.kubeconfig))
    await pool_of()
    await until(lambda: look.condition("Ready"), SERVING)
    assert not faulty_api.faults
    assert process.written().count(MISSING) == 1, process.written()


async def test_pools_are_served_again_once_their_definition_is_back(
    start_operator, pool_of, look, until, cluster, redis, ref
):
    """Deleting the definition deletes the pools; the operator says so, is not ready, and serves later pools."""
    process = start_operator()
    await pool_of()
    await until(lambda: look.condition("Ready"), SERVING)
    await cluster.delete(CRD_PATH)
    await wait_until(lambda: MISSING in process.written(), "it says so")
    assert await readiness(process) == 503
    await cluster.apply(CRD_PATH, custom_resource_definition(), manager="test")
    await until(lambda: readiness(process), 200)
    await pool_of()
    await until(lambda: look.condition("Ready"), SERVING)
    await submit(redis, ref, 6)
    await until(look.replicas, 2)
