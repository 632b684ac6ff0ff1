"""Requests take turns: a thousand concurrent pools neither overload the API server nor delay the Lease."""

from __future__ import annotations

import asyncio

import pytest
import yaml
from aiohttp import web

from agentpool_core.kube import paths
from agentpool_core.kube.connection import open_cluster
from agentpool_operator.cluster import AT_ONCE, Cluster, NotLeadingError
from tests.fixtures.redis import wait_until


class SlowApi:
    """An API server that answers only Lease requests until its release."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = 0
        self.open = 0
        self.most = 0

    async def handle(self, request: web.Request) -> web.Response:
        if "leases" in request.path:
            return web.json_response({"kind": "Lease"})
        self.asked += 1
        self.open += 1
        self.most = max(self.most, self.open)
        await self.go_on.wait()
        self.open -= 1
        return web.json_response({"kind": "Any"})


@pytest.fixture
async def slow_api():
    return SlowApi()


@pytest.fixture
async def slow_cluster(slow_api, tmp_path):
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", slow_api.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    async with open_cluster(kubeconfig) as api:
        yield Cluster(api)
        slow_api.go_on.set()
    await runner.cleanup()


async def test_requests_in_flight_are_bounded_and_the_lease_does_not_wait(slow_api, slow_cluster):
    """Some of two hundred requests are sent and the rest follow; the Lease is read meanwhile."""
    requests = [asyncio.create_task(slow_cluster.get(paths.nodes(f"n{n}"))) for n in range(200)]
    await wait_until(lambda: slow_api.open == AT_ONCE, "as many as may are on their way")
    assert await slow_cluster.get(paths.leases("default", "agentpool-operator")) == {"kind": "Lease"}
    slow_api.go_on.set()
    await asyncio.gather(*requests)
    assert (slow_api.asked, slow_api.most) == (200, AT_ONCE)


async def test_a_former_leader_does_not_send_a_waiting_write(slow_api, slow_cluster):
    """The leadership is checked at the request's turn, not before."""
    requests = [asyncio.create_task(slow_cluster.get(paths.nodes(f"n{n}"))) for n in range(AT_ONCE)]
    await wait_until(lambda: slow_api.open == AT_ONCE, "as many as may are on their way")
    late = asyncio.create_task(slow_cluster.delete(paths.nodes("n")))
    await asyncio.sleep(0)
    slow_cluster.may_write = lambda: False
    slow_api.go_on.set()
    with pytest.raises(NotLeadingError):
        await late
    await asyncio.gather(*requests)
    assert slow_api.asked == AT_ONCE
