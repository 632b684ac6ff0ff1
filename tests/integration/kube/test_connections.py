"""Connections of the single Kubernetes client, and of kopf, over plugins, proxies and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest
import yaml
from aiohttp import web

from agentpool_core.errors import ClusterUnreachableError, SettingError
from agentpool_core.kube import kubeconfig, proxies
from agentpool_core.kube.connection import load, open_cluster
from agentpool_core.process.cancellation import end
from agentpool_operator.pools.kopf_connection import kopf_connection
from tests.fixtures.kube_access import (
    NAME,
    TOKEN,
    UNRESOLVABLE,
    connect_proxy,
    exec_plugin,
    tls_front,
    token_plugin,
    without_proxies,
    write_kubeconfig,
)
from tests.fixtures.redis import free_port, wait_until


class Api:
    """An API server that answers every request with the request's headers."""

    port = 0

    async def handle(self, request: web.Request) -> web.Response:
        return web.json_response({"authorization": request.headers.get("Authorization"), "host": request.host})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    found = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    without_proxies(monkeypatch)
    monkeypatch.delenv("KUBECONFIG", raising=False)


async def asked(path: Path | None) -> dict:
    """Return the API server's answer to the client."""
    async with open_cluster(path) as cluster:
        return await cluster.get("/api")


async def asked_by_kopf(path: Path) -> dict:
    """Return the API server's answer over kopf's connection, used as kopf does."""
    info = await kopf_connection((await load(path)).settings)
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
    async with (
        aiohttp.ClientSession(connector=connector, headers=info.as_http_headers(), proxy=info.proxy_url) as session,
        session.get(f"{info.server}/api") as answer,
    ):
        return await answer.json()


async def test_the_plugin_of_a_kubeconfig_gives_the_token(api, tmp_path):
    """As the plugins of EKS, GKE and AKS, a program prints an ExecCredential, with the configured variables set."""
    plugin = token_plugin(tmp_path)
    path = write_kubeconfig(tmp_path / "c", cluster={"server": f"http://127.0.0.1:{api.port}"}, user={"exec": plugin})
    assert (await asked(path))["authorization"] == f"Bearer {TOKEN}"
    assert (await asked_by_kopf(path))["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"command": "no-such-plugin"}, "No such file or directory: 'no-such-plugin'"),
        ({}, "not logged in"),
    ],
    ids=["absent", "failing"],
)
async def test_a_plugin_without_credentials_is_named_with_its_hint(tmp_path, caplog, change, told):
    """The error has the reason and the kubeconfig's hint; nothing else is logged, and no request is sent."""
    plugin = exec_plugin(tmp_path, "sys.exit('not logged in')") | change
    path = write_kubeconfig(tmp_path / "c", cluster={"server": "http://127.0.0.1:1"}, user={"exec": plugin})
    with pytest.raises(SettingError) as refused:
        await asked(path)
    assert str(path) in refused.value.detail
    assert f"its exec plugin {plugin['command']!r} gave no credentials" in refused.value.detail
    assert told in refused.value.detail
    assert refused.value.remedy == "install the plugin of the test"
    assert caplog.messages == []


async def test_a_plugin_with_a_question_has_a_time_limit(tmp_path, monkeypatch):
    """A login that waits for a browser is such a plugin; the plugin's process is ended too."""
    monkeypatch.setattr("agentpool_core.kube.connection.PLUGIN_SECONDS", 0.2)
    path = write_kubeconfig(tmp_path / "c", cluster={"server": "http://127.0.0.1:1"}, user={"exec": hung(tmp_path)})
    with pytest.raises(SettingError, match=r"its exec plugin has not answered within 0\.2 s; log in first"):
        await asked(path)
    assert running_plugins(tmp_path) == []


async def test_a_cancelled_connection_ends_its_plugin(tmp_path):
    """The user stops the program while the plugin waits."""
    path = write_kubeconfig(tmp_path / "c", cluster={"server": "http://127.0.0.1:1"}, user={"exec": hung(tmp_path)})
    asking = asyncio.create_task(asked(path))
    await wait_until(lambda: running_plugins(tmp_path), "the plugin runs")
    await end(asking)
    await wait_until(lambda: not running_plugins(tmp_path), "the plugin has ended")


def hung(tmp_path: Path) -> dict:
    """Return a plugin that never answers."""
    return exec_plugin(tmp_path, "import time", "time.sleep(600)")


def running_plugins(tmp_path: Path) -> list[psutil.Process]:
    """Return the plugins of this directory that run as children of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, or one that has just ended
            found += [child] if any(str(tmp_path) in word for word in child.cmdline()) else []
    return found


async def test_a_token_of_a_plugin_is_renewed_before_it_expires(api, tmp_path, monkeypatch):
    """The plugin runs again while the connection is open; a token in the kubeconfig needs no renewal."""
    monkeypatch.setattr("agentpool_core.kube.connection.RENEW_SECONDS", 0.01)
    runs = tmp_path / "runs"
    plugin = exec_plugin(
        tmp_path,
        f"open({str(runs)!r}, 'a').write('x')",
        f"token = 'run-%d' % os.path.getsize({str(runs)!r})",
        "status = {'token': token, 'expirationTimestamp': '2020-01-01T00:00:00Z'}",
        "version = 'client.authentication.k8s.io/v1'",
        "print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))",
    )
    server = {"server": f"http://127.0.0.1:{api.port}"}
    async with open_cluster(write_kubeconfig(tmp_path / "c", cluster=server, user={"exec": plugin})) as cluster:
        assert (await cluster.get("/api"))["authorization"] == "Bearer run-1"

        async def renewed():
            return (await cluster.get("/api"))["authorization"] not in {"Bearer run-1", None}

        await wait_until(renewed, "the plugin has run again")
    assert (await load(write_kubeconfig(tmp_path / "plain", cluster=server))).renew is None


@pytest.mark.parametrize("ask", [asked, asked_by_kopf], ids=["client", "kopf"])
async def test_proxy_url_and_tls_server_name_are_honoured(api, tmp_path, certificate, ask):
    """Only the proxy knows the server's name; the certificate has a third name, and a plugin gives the token."""
    async with tls_front(certificate, api.port) as front, connect_proxy(front) as proxy:
        cluster = {
            "server": f"https://{UNRESOLVABLE}",
            "certificate-authority": certificate.name,
            "proxy-url": proxy.url,
            "tls-server-name": NAME,
        }
        path = write_kubeconfig(certificate.parent / "c", cluster=cluster, user={"exec": token_plugin(tmp_path)})
        assert await ask(path) == {"authorization": f"Bearer {TOKEN}", "host": UNRESOLVABLE}
        assert proxy.asked == [UNRESOLVABLE]
        wrong = write_kubeconfig(certificate.parent / "w", cluster=cluster | {"tls-server-name": "other.internal"})
        with pytest.raises((ClusterUnreachableError, aiohttp.ClientError), match="certificate"):
            await ask(wrong)


@pytest.mark.parametrize("ask", [asked, asked_by_kopf], ids=["client", "kopf"])
async def test_tls_server_name_without_a_proxy(api, certificate, ask):
    """The address is an IP, the certificate has a name."""
    async with tls_front(certificate, api.port) as front:
        cluster = {"server": f"https://127.0.0.1:{front}", "certificate-authority": certificate.name}
        path = write_kubeconfig(certificate.parent / "n", cluster=cluster | {"tls-server-name": NAME})
        assert (await ask(path))["authorization"] == f"Bearer {TOKEN}"


async def test_an_unusable_proxy_is_named(tmp_path):
    """The error has only the scheme, because the URL may have a password."""
    cluster = {"server": "https://h", "proxy-url": "socks5://user:secret@proxy:1080"}
    with pytest.raises(SettingError, match=r"^proxy-url: 'socks5': is the scheme .*; name an HTTP proxy") as refused:
        await load(write_kubeconfig(tmp_path / "c", cluster=cluster))
    assert "secret" not in str(refused.value)


NEAR, FAR = "https://10.1.2.3:6443", "https://kube.example.com:6443"


@pytest.mark.parametrize(
    ("server", "without", "through"),
    [
        (NEAR, "", True),
        (NEAR, "10.0.0.0/8", False),
        (NEAR, "192.168.0.0/16, 10.1.2.3", False),
        (NEAR, "10.2.0.0/16", True),
        ("https://[fd00::1]:6443", "fd00::/8", False),
        (FAR, "10.0.0.0/8,.example.com", False),
        (FAR, "example.org", True),
        (FAR, "*", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://localhost:6443", "", False),
        ("http://10.1.2.3", "", False),
    ],
)
async def test_no_proxy_is_read_as_by_kubectl(tmp_path, monkeypatch, server, without, through):
    """CIDRs, domains and addresses work; a server on this machine has no proxy; HTTPS_PROXY applies to https only."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", without)
    settings = (await load(write_kubeconfig(tmp_path / "c", cluster={"server": server}))).settings
    assert settings.proxy == ("http://proxy:3128" if through else None)
    assert (await kopf_connection(settings)).proxy_url == settings.proxy


@pytest.mark.parametrize("ask", [asked, asked_by_kopf], ids=["client", "kopf"])
async def test_a_server_in_a_cidr_of_no_proxy_is_reached_directly(api, tmp_path, monkeypatch, ask):
    """No server listens at the proxy's address, so a request through the proxy would fail."""
    monkeypatch.setattr(proxies, "_is_local", lambda _server: False)
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{free_port()}")
    path = write_kubeconfig(tmp_path / "c", cluster={"server": f"http://127.0.0.1:{api.port}"})
    with pytest.raises((ClusterUnreachableError, aiohttp.ClientError)) as refused:
        await ask(path)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.0/8")
    assert (await ask(path))["authorization"] == f"Bearer {TOKEN}"


async def test_an_absent_server_is_reported_with_the_address(tmp_path):
    """The error has the text of the operating system, without the path of the URL, which may be a secret."""
    port = free_port()
    path = write_kubeconfig(tmp_path / "c", cluster={"server": f"http://127.0.0.1:{port}/token/secret"})
    with pytest.raises(ClusterUnreachableError) as away:
        await asked(path)
    assert away.value.detail == f"Kubernetes API unreachable: connection refused (http://127.0.0.1:{port})"
    assert away.value.remedy == "check the kubeconfig and the network"


async def test_several_kubeconfigs_are_merged_as_kubectl_merges_them(api, tmp_path, monkeypatch):
    """The first file with a value wins, relative names start at their file, and absent files are skipped."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "token").write_text("of-a-file")
    first, second, empty = tmp_path / "first", folder / "second", tmp_path / "empty"
    mine = {"name": "mine", "context": {"cluster": "k", "user": "of-the-second", "namespace": "research"}}
    first.write_text(json.dumps({"current-context": "mine", "contexts": [mine]}))
    write_kubeconfig(second, cluster={"server": f"http://127.0.0.1:{api.port}"}, user={"token": "other"})
    config = yaml.safe_load(second.read_text())
    config["users"].append({"name": "of-the-second", "user": {"tokenFile": "token"}})
    second.write_text(yaml.safe_dump(config))
    empty.write_text("")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (tmp_path / "absent", empty, first, second))))
    assert kubeconfig.current_namespace() == "research"
    assert (await asked(None))["authorization"] == "Bearer of-a-file"
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (second, first))))
    assert kubeconfig.current_namespace() == "default"
    assert (await asked(None))["authorization"] == "Bearer other"


async def test_a_named_but_absent_kubeconfig_is_refused(tmp_path, monkeypatch):
    """A typing error in KUBECONFIG does not silently select the pod's own account."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(SettingError, match=r"^kubeconfig: '.*absent': there is no such file"):
        await load(None)
