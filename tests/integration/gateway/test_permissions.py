"""The table of permissions.

Each row is called with every wrong token, for static tokens and for Kubernetes' reviews.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import APIRouter

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import PoolSettings, Route
from agentpool_devcluster.api.access.tokens import service_account
from agentpool_devcluster.api.http.server import ApiServer
from agentpool_gateway.a2a import jsonrpc, legacy, methods
from agentpool_gateway.a2a.tasks import NAMESPACE
from agentpool_gateway.access import table
from agentpool_gateway.access.authority import AllowAll, Verb
from agentpool_gateway.access.rate import ReviewLimit
from agentpool_gateway.access.static_tokens import StaticTokens
from agentpool_gateway.app import build
from agentpool_gateway.mcp import tools
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.routes import health, pages
from agentpool_gateway.settings import GatewaySettings
from tests.fixtures.gateways import Served, serving
from tests.fixtures.reviews import account

CONSOLE = pages.CONSOLE
RBAC = {
    Verb.READ: ("get", "agentpools"),
    Verb.SUBMIT: ("create", "agentpools/jobs"),
    Verb.MANAGE: ("delete", "agentpools/jobs"),
    Verb.CONFIGURE: ("patch", "agentpools"),
}
SEND = {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hello"}]}}
SEND_1_0 = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}}
SEND_1_0["configuration"] = {"returnImmediately": True}
NOBODY = {"none": None, "empty": "", "garbage": "x" * 40, "control": "a\tb" * 12}


@dataclass(frozen=True, kw_only=True)
class Doors:
    """A gateway in one authentication mode, and tokens for that gateway."""

    served: Served
    of_verb: dict[Verb, str]  # in the pool's namespace, one verb each
    elsewhere: str  # every verb, in a different namespace
    expired: str  # every verb, no longer valid


@dataclass(frozen=True, kw_only=True)
class Call:
    """A row of the table, ready to send."""

    method: str
    template: str
    need: table.Need
    rpc: str = ""  # JSON-RPC method; empty: none
    tool: str = ""  # tool of MCP; empty: none

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.rpc}{self.tool}".strip()

    def _body(self) -> object:
        if self.tool:
            name = self.tool.replace("*", "greet")
            params = {"name": name, "arguments": {"job_id": "stranger"}}
            return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        if self.rpc:
            sends = {"message/send": SEND, "message/stream": SEND, "SendMessage": SEND_1_0}
            params = {**sends, "SendStreamingMessage": SEND_1_0}.get(self.rpc, {"id": "stranger"})
            return {"jsonrpc": "2.0", "id": 1, "method": self.rpc, "params": params}
        if self.template.endswith(("message:send", "message:stream")):
            return SEND_1_0
        if self.method in {"POST", "PUT"} and "/dead/" not in self.template:
            return {"paused": False} if self.template.endswith("paused") else {"kind": "greet"}
        return None

    async def send(self, client: httpx.AsyncClient, pool: PoolRef) -> tuple[int, str]:
        """Return status and body; leave a stream after the headers."""
        names = {
            "namespace": pool.namespace,
            "pool": pool.name,
            "job_id": "stranger",
            "name": "go",
            "config_id": "stranger",
        }
        headers = {"A2A-Version": "0.3" if "/" in self.rpc else "1.0"}
        if self.template.endswith("/mcp"):
            headers = {"Accept": "application/json, text/event-stream"}
        path = self.template.format(**names)
        async with client.stream(self.method, path, json=self._body(), headers=headers) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return answer.status_code, ""
            return answer.status_code, (await answer.aread()).decode()


def calls() -> list[Call]:
    """Return every row: one call for each JSON-RPC method, and one for each tool."""
    found = []
    for (method, template), need in table.ROUTES.items():
        if template.endswith("/mcp"):
            found += [
                Call(method=method, template=template, need=verb, tool=tool) for tool, verb in table.MCP_TOOLS.items()
            ]
        elif need is table.Rule.BY_METHOD:
            found += [
                Call(method=method, template=template, need=verb, rpc=rpc) for rpc, verb in table.A2A_METHODS.items()
            ]
        elif method != "MOUNT":
            found.append(Call(method=method, template=template, need=need))
    return found


OF_A_POOL = [call for call in calls() if isinstance(call.need, Verb)]


@pytest.fixture
async def by_tokens(redis_url: str, tmp_path: Path) -> AsyncIterator[Doors]:
    """Static tokens: one verb each, one of a different namespace, one expired."""
    of_verb = {verb: f"only-{verb}-token-of-enough-characters" for verb in Verb}
    elsewhere, expired = "elsewhere-token-of-enough-characters", "expired-token-of-enough-characters"
    grants = [
        {"name": verb.value, "token": token, "namespaces": ["test"], "verbs": [verb.value]}
        for verb, token in of_verb.items()
    ]
    grants.append({"name": "elsewhere", "token": elsewhere, "namespaces": ["other"]})
    grants.append({"name": "expired", "token": expired, "expires": "2020-01-01T00:00:00Z"})
    file = tmp_path / "tokens.yaml"
    file.write_text(yaml.safe_dump({"tokens": grants}).replace("'2020-01-01T00:00:00Z'", "2020-01-01T00:00:00Z"))
    settings = GatewaySettings()
    async with serving(build(settings, SingleRedis(redis_url), StaticTokens(file)), settings) as served:
        yield Doors(served=served, of_verb=of_verb, elsewhere=elsewhere, expired=expired)


@pytest.fixture
async def by_reviews(reviewed: Served, api, api_server: ApiServer) -> Doors:
    """ServiceAccounts of a real API server: one right each, one of a different namespace, and an expired token."""
    of_verb = {verb: await account(api, verb.value, rule) for verb, rule in RBAC.items()}
    elsewhere = await account(api, "elsewhere", *RBAC.values(), namespace="other")
    await account(api, "former", *RBAC.values())
    expired = api_server.tokens.issue(service_account("test", "former"), lifetime_s=-1)
    reviewed.app.state.gateway.authority._limit = ReviewLimit(burst=10_000)  # all calls come from one address
    return Doors(served=reviewed, of_verb=of_verb, elsewhere=elsewhere, expired=expired)


@pytest.fixture(params=["tokens", "kubernetes"])
def doors(request: pytest.FixtureRequest) -> Doors:
    """Each authentication mode in turn."""
    return request.getfixturevalue("by_tokens" if request.param == "tokens" else "by_reviews")


async def answers(doors: Doors, token: str | None, pool: PoolRef, wanted: list[Call]) -> dict[str, tuple[int, str]]:
    """Return status and body of each call under a token."""
    async with doors.served.client(token) as client:
        return {str(call): await call.send(client, pool) for call in wanted}


async def test_no_caller_without_a_valid_token_passes_any_row(doors: Doors, pool: PoolRef):
    """A missing, empty, invalid or expired token gets 401 at every call that is not public, without an echo."""
    wanted = [call for call in calls() if call.need is not table.Rule.PUBLIC]
    for token in [*NOBODY.values(), doors.expired]:
        for call, (status, body) in (await answers(doors, token, pool, wanted)).items():
            assert status == 401, (call, token)
            assert not token or token not in body
            assert pool.name not in body.replace(f"/pools/{pool.name}", "")


async def test_a_token_with_a_different_verb_passes_no_row(doors: Doors, pool: PoolRef):
    """Each verb permits only the rows of that verb, through every entry point."""
    for verb, token in doors.of_verb.items():
        answered = await answers(doors, token, pool, OF_A_POOL)
        passed = {call for call, (status, _) in answered.items() if status not in {401, 403}}
        assert passed == {str(call) for call in OF_A_POOL if call.need is verb}


async def test_a_token_of_a_foreign_namespace_passes_no_row(doors: Doors, pool: PoolRef):
    """403 for an existing and for a missing pool; the lists of pools and of agents are empty."""
    wanted = [*OF_A_POOL, *(call for call in calls() if call.need is table.Rule.ANY_VERB)]
    for named in (pool, PoolRef(pool.namespace, "no-such-pool")):
        answered = await answers(doors, doors.elsewhere, named, wanted)
        assert {status for status, _ in answered.values()} == {403}
    async with doors.served.client(doors.elsewhere) as client:
        assert (await client.get("/v1/pools")).json() == {"pools": [], "cursor": None}
        assert (await client.get("/v1/a2a/agents")).json() == {"agents": [], "cursor": None}


async def test_the_card_is_visible_with_any_verb(doors: Doors, pool: PoolRef):
    """A caller with any single right can discover the agent, and find the card in the catalogue."""
    for token in doors.of_verb.values():
        wanted = [call for call in calls() if call.need is table.Rule.ANY_VERB]
        assert {status for status, _ in (await answers(doors, token, pool, wanted)).values()} == {200}
        async with doors.served.client(token) as client:
            agents = (await client.get("/v1/a2a/agents")).json()["agents"]
            (agent,) = (agent for agent in agents if agent["name"] == str(pool))
            assert (await client.get(agent["card"])).json()["name"] == pool.name


@pytest.mark.parametrize("body", ['{"jsonrpc": "2.0", "method": "tasks/list", "params": {}}', "[]", "{}", "1", "{"])
async def test_an_unlisted_method_shows_nothing_to_a_stranger(doors: Doors, pool: PoolRef, body: str):
    """A name outside the table is refused like a method without permission: the answer shows nothing of the pool."""
    headers = {"Content-Type": "application/json"}
    async with doors.served.client(doors.elsewhere) as client:
        for name in (pool.name, "no-such-pool"):
            for door in ("a2a", "mcp"):
                answer = await client.post(f"/v1/namespaces/test/pools/{name}/{door}", content=body, headers=headers)
                assert answer.status_code == 403


async def test_a_submitter_sees_the_receipt_and_no_result(doors: Doors, pool: PoolRef, consumer):
    """A repeated submit and a wait return id, state and depth, never payload or result."""
    at = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {**SEND, "configuration": {"blocking": True}}}
    async with doors.served.client(doors.of_verb[Verb.SUBMIT]) as client:
        first = (await client.post(f"{at}/jobs", json={"kind": "greet", "idempotency_key": "k"})).json()
        task = (await client.post(f"{at}/a2a", json=rpc)).json()["result"]
        assert set(task) == {"kind", "id", "contextId", "status"}
        for _ in range(2):
            await consumer.serve_one(result="for readers only")
        again = [
            await client.post(f"{at}/jobs?wait=30s", json={"kind": "greet", "idempotency_key": "k"}),
            await client.post(
                f"{at}/jobs", json={"kind": "greet", "idempotency_key": "k"}, headers={"Prefer": "wait=30"}
            ),
            await client.post(f"{at}/a2a", json=rpc),
        ]
    assert [answer.status_code for answer in again] == [202, 202, 200]
    assert first["job_id"] == again[0].json()["job_id"]
    assert again[2].json()["result"] == {**task, "status": {"state": "completed"}}
    assert not [answer.text for answer in again if "for readers only" in answer.text]


@pytest.mark.parametrize("door", ["jobs", "list", "a2a", "mcp"])
async def test_a_submitter_cancels_no_job_by_its_key(doors: Doors, pool: PoolRef, consumer, door):
    """A key may be the key of a different caller: to replace its job needs `manage`, as to cancel it, at each door."""
    at = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
    job = {"kind": "greet", "idempotency_key": "k"}
    options = job | {"on_conflict": "replace" if door == "list" else "cancel_running"}
    message = {**SEND["message"], "metadata": {NAMESPACE: options}}
    rpc = {"jsonrpc": "2.0", "id": 1}
    bodies = {
        "jobs": ("/jobs", options | {"payload": 2}),
        "list": ("/jobs", [{"kind": "greet"}, options | {"payload": 2}]),
        "a2a": ("/a2a", rpc | {"method": "message/send", "params": {"message": message}}),
        "mcp": ("/mcp", rpc | {"method": "tools/call", "params": {"name": "submit", "arguments": options}}),
    }
    path, body = bodies[door]
    async with doors.served.client(doors.of_verb[Verb.SUBMIT]) as client:
        first = (await client.post(f"{at}/jobs", json=job)).json()
        answer = await client.post(f"{at}{path}", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert "may not manage" in answer.text
    assert (await consumer.serve_one()).job_id == first["job_id"]
    assert await consumer.claim(5) == []


async def test_a_route_outside_the_table_is_refused(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    """The app is not built; a route that is added later is refused to every caller, with an open gateway as well."""
    router = APIRouter()

    @router.get("/v1/leak")
    async def leak() -> str:
        return "leaked"

    settings = GatewaySettings()
    app = build(settings, SingleRedis(redis_url), AllowAll())
    app.include_router(router)
    app.add_api_route("/v1/leak/too", leak)
    async with serving(app, settings) as served, served.client(None) as client:
        for path in ("/v1/leak", "/v1/leak/too"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:agentpool:problem:unlisted-route")
    monkeypatch.setattr(health, "router", router)
    with pytest.raises(LookupError, match="/v1/leak"):
        build(settings, SingleRedis(redis_url), AllowAll())


async def test_a_method_outside_the_table_is_refused(http, monkeypatch: pytest.MonkeyPatch):
    """A handler alone permits no call; every handler has a row and every row a handler."""
    assert {*methods.OPERATIONS, *legacy.LEGACY} == set(table.A2A_METHODS)
    operations = {**methods.OPERATIONS, "tasks/list": methods.OPERATIONS["ListTasks"]}
    monkeypatch.setattr(jsonrpc, "OPERATIONS", operations)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tasks/list", "params": {}}
    answer = await http.post("/a2a", json=call, headers={"A2A-Version": "1.0"})
    assert answer.json()["error"]["code"] == -32601


def test_every_tool_has_its_row():
    """A tool without a row has no verb; a row without a tool permits no call."""
    settings = PoolSettings(routes=(Route(name="work", kinds=("greet", "replay")),))
    of_kinds = {"run_greet", "run_replay"}
    assert set(tools.tools_of(settings)) == of_kinds | set(table.MCP_TOOLS) - {table.MCP_KIND}
    assert {tools.tools_of(settings)[name].verb for name in of_kinds} == {Verb.SUBMIT}
    assert table.tool_verb("stranger") is None


def test_every_call_of_the_console_is_in_the_table():
    """The console has no access of its own: each path in the scripts belongs to a row."""
    templates = {template.replace("{name}", "{job_id}") for _, template in table.ROUTES}
    pool = "/v1/namespaces/{namespace}/pools/{pool}"
    called = set()
    for script in CONSOLE.glob("*.js"):
        for path in re.findall(r"`\$\{at\(\w+\)\}((?:/\w+|/\$\{encodeURIComponent\(\w+\)\})+)", script.read_text()):
            called.add(pool + re.sub(r"\$\{[^}]*\}", "{job_id}", path).rstrip("/"))
        called |= set(re.findall(r'"\.\.(/v1/[^"?]*)"', script.read_text()))
    assert len(called) > 4
    assert called <= templates


def test_every_stream_is_a_row():
    """The streams with repeated checks are exactly those that answer with server-sent events."""
    from agentpool_gateway.routes import events

    assert table.routes_in(events.router.routes) == table.STREAMS
