"""Operators behind a proxy, with a certificate of a different name and a token plugin; and without any connection."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import yaml

from tests.fixtures.kube_access import (
    NAME,
    UNRESOLVABLE,
    connect_proxy,
    tls_front,
    token_plugin,
    without_proxies,
    write_kubeconfig,
)
from tests.fixtures.redis import free_port, wait_until

WITHIN_SECONDS = 40.0


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    without_proxies(monkeypatch)


async def test_an_operator_serves_through_a_proxy_with_a_plugin(
    start_operator, api_kubeconfig, certificate, tmp_path, pool_of, look
):
    """The requests and kopf's watches use proxy-url, tls-server-name and the exec plugin of the kubeconfig."""
    config = yaml.safe_load(api_kubeconfig.read_text())
    server, token = urlsplit(config["clusters"][0]["cluster"]["server"]), config["users"][0]["user"]["token"]
    async with tls_front(certificate, server.port) as front, connect_proxy(front) as proxy:
        cluster = {
            "server": f"https://{UNRESOLVABLE}{server.path}",
            "certificate-authority": str(certificate),
            "proxy-url": proxy.url,
            "tls-server-name": NAME,
        }
        path = write_kubeconfig(tmp_path / "c", cluster=cluster, user={"exec": token_plugin(tmp_path, token)})
        process = start_operator("--kubeconfig", str(path))
        await pool_of()

        async def serves():
            return await look.condition("Ready") == ("True", "Serving")

        await wait_until(serves, f"the pool is served\n{process.written()}", within_s=WITHIN_SECONDS)
        assert set(proxy.asked) == {UNRESOLVABLE}


async def test_an_operator_that_reaches_no_api_server_says_so_and_waits(start_operator, tmp_path):
    """The log has the address and the reason at once, and the operator keeps trying."""
    port = free_port()
    path = write_kubeconfig(tmp_path / "c", cluster={"server": f"http://127.0.0.1:{port}"})
    process = start_operator("--kubeconfig", str(path))
    line = (
        f"Kubernetes API unreachable: connection refused (http://127.0.0.1:{port}). Retrying every 5 s. "
        "Pools keep their size until the API server answers."
    )
    await wait_until(lambda: line in process.written(), "the log has the line", within_s=WITHIN_SECONDS)
    assert process.running()
