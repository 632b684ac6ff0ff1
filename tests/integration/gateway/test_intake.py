"""The checks of a request before any route, and the address by which a client knows the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.addresses import AllowedHosts, ExternalUrl, TrustedProxies
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings
from tests.fixtures import gateways as tokens
from tests.fixtures.gateways import Served, serving


def at(pool: PoolRef) -> str:
    return f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"


@pytest.mark.parametrize(
    ("version", "framing"),
    [
        ("1.1", ["Content-Length: 4", "Transfer-Encoding: chunked"]),
        ("1.1", ["Transfer-Encoding: chunked", "Content-Length: 0"]),
        ("1.1", ["transfer-encoding: chunked", "content-length: 5", "Connection: keep-alive"]),
        ("1.1", ["Content-Length: 5", "Content-Length: 6"]),
        ("1.1", ["Transfer-Encoding: chunked, identity"]),
        ("1.1", ["Transfer-Encoding: xchunked", "Content-Length: 5"]),
        ("1.0", ["Transfer-Encoding: chunked"]),
    ],
)
async def test_a_request_with_two_lengths_is_refused_and_the_connection_closed(
    gateway: Served, pool: PoolRef, version: str, framing: list[str]
):
    """The gateway never serves a request that follows on the connection and that a proxy took for a body."""
    head = [f"POST {at(pool)}/jobs HTTP/{version}", "Host: a", f"Authorization: Bearer {tokens.ADMIN}"]
    head += ["Content-Type: application/json", *framing]
    smuggled = f"GET {at(pool)}/queue HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens.ADMIN}\r\n\r\n"
    answer = await gateway.raw(("\r\n".join(head) + f"\r\n\r\n0\r\n\r\n{smuggled}").encode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split(b" ", 2)[1] in {b"400", b"501"}
    assert b"connection: close" in answer.lower()
    async with gateway.client() as client:
        assert (await client.get(f"{at(pool)}/queue")).json()["depth"] == 0


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Start gateways without authentication."""
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:

        async def start(**chosen) -> Served:
            settings = GatewaySettings(**chosen)
            app = build(settings, SingleRedis(redis_url), AllowAll())
            return await stack.enter_async_context(serving(app, settings))

        yield start


OURS = [
    "localhost",
    "LOCALHOST:8088",
    "localhost.",
    "127.0.0.1:1",
    "127.8.8.8",
    "[::1]:8088",
    "[::1]",
    "box.example:80",
]
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "10.0.0.1",
    "[2001:db8::1]",
    "",
    "a b",
    "@",
    "::1x",
]


@pytest.mark.parametrize(("host", "status"), [*((h, 200) for h in OURS), *((h, 403) for h in FOREIGN)])
async def test_an_open_gateway_answers_to_its_own_names_only(opened, host: str, status: int):
    """A foreign page with a name that points to this machine gets nothing, from pages and probes either."""
    served = await opened(allowed_hosts=("Box.example",))
    for path in ("/v1/pools", "/healthz", "/openapi.json", "/console/"):
        answer = await served.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1].decode() == str(status), (path, answer)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 404),
        ("http://127.0.0.1", 404),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_a_page_of_a_foreign_site_cannot_send_simple_requests(opened, pool: PoolRef, origin: str, status: int):
    """A replay has no body, so a browser sends the request to any site at once; the Origin names the page's site."""
    served = await opened()
    async with served.client(None, headers={"Origin": origin}) as client:
        assert (await client.post(f"{at(pool)}/dead/stranger/replay")).status_code == status


async def test_with_tokens_any_name_will_do(gateway: Served):
    """Every caller needs a token; a load balancer uses an address as the name."""
    async with gateway.client(headers={"Host": "gateway.example", "Origin": "https://console.example"}) as client:
        assert (await client.get("/v1/pools")).status_code == 200


FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "agents.example.org", "X-Forwarded-For": "192.0.2.9"}


async def card_url(served: Served, pool: PoolRef, **headers: str) -> str:
    """Return the URL in the agent card."""
    async with served.client(headers=headers) as client:
        return (await client.get(f"{at(pool)}/a2a/.well-known/agent-card.json")).json()["url"]


async def test_only_headers_of_a_trusted_proxy_count(gateway_factory, pool: PoolRef):
    """By default no proxy is trusted, this machine's own processes included."""
    plain = await gateway_factory()
    assert (await card_url(plain, pool, **FORWARDED)).startswith("http://127.0.0.1:")
    elsewhere = await gateway_factory(trusted_proxies=("10.0.0.0/8",))
    assert (await card_url(elsewhere, pool, **FORWARDED)).startswith("http://127.0.0.1:")
    behind = await gateway_factory(trusted_proxies=("127.0.0.0/8", "::1"))
    assert await card_url(behind, pool, **FORWARDED) == f"https://agents.example.org{at(pool)}/a2a"
    odd = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a/b@c", "X-Forwarded-For": "x, y"}
    assert (await card_url(behind, pool, **odd)).startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("203.0.113.5, 192.0.2.9", "192.0.2.9"),
        ("192.0.2.9, 10.1.1.1, 10.2.2.2", "192.0.2.9"),
        ("10.1.1.1", "10.0.0.1"),
        ("made-up, 10.1.1.1", "10.0.0.1"),
        ("192.0.2.9, made-up", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(forwarded: str, client: str):
    """The client sent the earlier addresses, which may be invented."""
    scope = {"client": ("10.0.0.1", 1), "scheme": "http", "headers": [(b"x-forwarded-for", forwarded.encode())]}
    mapped = scope | {"client": ("::ffff:10.0.0.1", 1)}  # as a socket for both families writes the address
    for each in (scope, mapped):
        TrustedProxies(["10.0.0.0/8"]).apply(each)
        assert each["client"][0].removeprefix("::ffff:") == client


def test_a_line_of_the_client_does_not_hide_the_line_of_the_proxy():
    """HAProxy adds a second line of the header instead of a part; both are one list, and its end counts."""
    sent = {"for": ("192.0.2.66", "192.0.2.9"), "proto": ("http", "https"), "host": ("evil.example", "agents.example")}
    lines = [(f"x-forwarded-{name}".encode(), value.encode()) for name, values in sent.items() for value in values]
    scope = {"client": ("10.0.0.1", 1), "scheme": "http", "headers": [*lines, (b"host", b"10.0.0.7")]}
    TrustedProxies(["10.0.0.0/8"]).apply(scope)
    assert (scope["client"][0], scope["scheme"]) == ("192.0.2.9", "https")
    assert (b"host", b"agents.example") in scope["headers"]


@pytest.mark.parametrize("prefix", ["", "/agents"])
async def test_links_and_redirects_use_the_external_url(gateway_factory, pool: PoolRef, prefix: str):
    """The links are the same for any Host, and for proxies that keep or remove their prefix of the path."""
    external = ExternalUrl.parse(f"https://agents.example.org{prefix}/")
    served = await gateway_factory(external_url=external, trusted_proxies=("127.0.0.0/8",))
    whole = f"https://agents.example.org{prefix}"
    headers = {"Host": "10.0.0.7:8080", "X-Forwarded-Host": "evil.example"}
    for before in {"", prefix}:
        async with served.client(headers=headers) as client:
            card = (await client.get(f"{before}{at(pool)}/a2a/.well-known/agent-card.json")).json()
            assert card["url"] == f"{whole}{at(pool)}/a2a"
            assert (await client.get(f"{before}/")).headers["location"] == f"{prefix}/console/"
            assert (await client.get(f"{before}/console/")).status_code == 200
            assert (await client.get(f"{before}/v1/pools/")).headers["location"] == f"{whole}/v1/pools"
            kept = await client.post(f"{before}{at(pool)}/jobs", json={"kind": "greet"})
            assert kept.headers["location"] == f"{prefix}{at(pool)}/jobs/{kept.json()['job_id']}"
            assert (await client.get(f"{before}{at(pool)}/queue", headers={"Authorization": ""})).status_code == 401


WRONG_URLS = (
    "agents.example.org",
    "ftp://a",
    "https://",
    "https://a?b",
    "https://a#b",
    "https://u:secret@a",
    "https://[::1",
)


@pytest.mark.parametrize("text", WRONG_URLS)
def test_a_wrong_external_url_is_refused_with_an_example(text: str):
    """The gateway refuses the URL at the start; the error shows no password of the URL."""
    with pytest.raises(SettingError, match=r"--external-url.*https://agents\.example\.org") as refused:
        ExternalUrl.parse(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/docs/agents", "/console"])
def test_an_external_path_like_the_gateways_own_is_refused(path: str):
    """Requests would look the same with and without the prefix that a proxy removes."""
    with pytest.raises(SettingError, match=r"--external-url.*choose a different path"):
        ExternalUrl.parse(f"https://agents.example.org{path}")
    assert ExternalUrl.parse("https://agents.example.org/v1x").path == "/v1x"


def test_wrong_networks_are_refused_and_names_are_compared_whole():
    """A network with bits beyond the prefix is a mistake that would trust no address."""
    for text in ("10.0.0.1/8", "proxy", ""):
        with pytest.raises(SettingError, match="--trusted-proxies"):
            TrustedProxies([text])
    assert not AllowedHosts().include("localhost:99999999")
    assert not AllowedHosts(["a"]).include("b.a")


@pytest.mark.parametrize("name", ["http://box.example", "box.example:8080", "box.example/x", "[::1", "*", ""])
def test_an_allowed_host_that_no_request_can_have_is_refused(name: str):
    """The host would never match, and the cause would be hard to find."""
    with pytest.raises(SettingError, match="--allowed-host"):
        AllowedHosts([name])


@pytest.mark.parametrize("name", ["2001:DB8::1", "[2001:db8::1]", "Box.example."])
def test_an_allowed_host_may_be_written_in_several_ways(name: str):
    """An address may have brackets, and a name may end with a dot."""
    assert AllowedHosts([name]).include("[2001:db8::1]:8088" if ":" in name else "box.example:8088")
