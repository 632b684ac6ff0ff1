"""The table of calls, and the authorities that need no server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_gateway.access import table
from agentpool_gateway.access.authority import AllowAll, Authority, Caller, ReadOnly, Verb, forbidden, unauthenticated
from agentpool_gateway.access.table import ROUTES, STREAMS, Rule
from agentpool_gateway.http.problems import ProblemError

POOL = PoolRef("research", "analysts")
IN_POOL = "/v1/namespaces/{namespace}/pools/{pool}"
AT_POOL = "/v1/namespaces/research/pools/analysts"


@pytest.mark.parametrize("authority", [ReadOnly(), AllowAll()])
async def test_without_tokens_a_caller_is_anonymous_and_may_read(authority: Authority):
    """A token that is sent all the same changes nothing."""
    for token in (None, "any"):
        caller = await authority.caller(token)
        assert (caller.name, caller.key) == ("anonymous", "anonymous")
        await authority.check(caller, Verb.READ, POOL)


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.READ])
async def test_a_read_only_server_refuses_every_other_verb(verb: Verb):
    """The refusal names verb, pool and remedy; without authentication the verb is allowed."""
    caller = Caller(name="anonymous", key="anonymous")
    await AllowAll().check(caller, verb, POOL)
    with pytest.raises(ProblemError) as refused:
        await ReadOnly().check(caller, verb, POOL)
    assert (refused.value.status, refused.value.name) == (403, "read-only")
    assert refused.value.detail == f"anonymous may not {verb} in pool research/analysts: it is served read-only"
    assert "--read-only" in refused.value.remedy


def test_a_refusal_names_the_caller_or_the_header():
    """A 403 names caller, verb and pool; a 401 names the header to send, and asks for it as HTTP requires."""
    denied = forbidden(Caller(name="lead", key="secret-key"), Verb.MANAGE, POOL)
    assert (denied.status, denied.detail) == (403, "lead may not manage in pool research/analysts")
    assert "allow manage in research" in denied.remedy
    assert "secret-key" not in f"{denied} {denied.remedy}"
    unknown = unauthenticated("no token was sent")
    assert (unknown.status, unknown.headers) == (401, {"WWW-Authenticate": 'Bearer realm="agentpool"'})


def test_a_caller_cannot_be_changed():
    """A caller is a key of the rate limit and of the cache."""
    caller = Caller(name="lead", key="1")
    with pytest.raises(AttributeError):
        caller.name = "other"  # type: ignore[misc]
    assert {caller: 1}[Caller(name="lead", key="1")] == 1
    with pytest.raises(TypeError):
        Caller("lead", "1")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("method", "template", "need"),
    [
        ("POST", f"{IN_POOL}/jobs", Verb.SUBMIT),
        ("GET", f"{IN_POOL}/jobs/{{job_id}}", Verb.READ),
        ("DELETE", f"{IN_POOL}/jobs/{{job_id}}", Verb.MANAGE),
        ("PUT", f"{IN_POOL}/paused", Verb.CONFIGURE),
        ("GET", "/healthz", Rule.PUBLIC),
        ("PATCH", f"{IN_POOL}/jobs", None),
        ("GET", f"{AT_POOL}/jobs", None),
    ],
)
def test_a_route_has_the_need_of_its_row_and_none_without_a_row(method: str, template: str, need: object):
    """Only the template of a declared route has a need."""
    assert table.need_of(method, template) is need


def test_a_tool_of_mcp_has_the_verb_of_its_row():
    """Tools of kinds share a row; a name that only resembles a tool's is no tool."""
    assert table.tool_verb("run_greet") is Verb.SUBMIT
    assert table.tool_verb("cancel_job") is Verb.MANAGE
    assert table.tool_verb("queue") is Verb.READ
    assert table.tool_verb("rerun_greet") is None


def test_the_methods_at_a_path_are_those_of_its_routes():
    """A parameter stands for one part of a path; HEAD goes with GET, and mounted files are no method."""
    assert table.methods_at(f"{AT_POOL}/jobs") == ["GET", "HEAD", "POST"]
    assert table.methods_at(f"{AT_POOL}/jobs/j1/signals/go") == ["POST"]
    assert table.methods_at(f"{AT_POOL}/jobs/j1") == ["DELETE", "GET", "HEAD"]
    assert table.methods_at(f"{AT_POOL}/jobs:cancel") == ["POST"]
    assert table.methods_at("/v1/namespaces/a/b/pools/analysts/jobs") == []
    assert table.methods_at("/console") == ["GET", "HEAD"]
    assert table.methods_at("/docs/nothing") == []


def route(path: str, *methods: str) -> SimpleNamespace:
    return SimpleNamespace(path=path, methods=set(methods))


def test_the_routes_of_an_app_are_compared_with_the_table():
    """HEAD has no row; mounted files have the method MOUNT; a router, which has no path, is no route."""
    assert table.routes_in([route("/a", "GET", "HEAD", "POST"), SimpleNamespace(path="/files"), SimpleNamespace()]) == {
        ("GET", "/a"),
        ("POST", "/a"),
        ("MOUNT", "/files"),
    }
    assert table.routes_in([route("/a", "POST"), SimpleNamespace(path="/b", methods=None)]) == {
        ("POST", "/a"),
        ("MOUNT", "/b"),
    }


def test_an_app_with_other_routes_than_the_table_is_not_built():
    """A route without a row would be open or closed by accident; both directions of the difference are named."""
    whole = [SimpleNamespace(path=path, methods=None if method == "MOUNT" else {method}) for method, path in ROUTES]
    table.verify(whole)
    with pytest.raises(LookupError, match="/v1/new"):
        table.verify([*whole, route("/v1/new", "GET")])
    (method, path) = next(iter(ROUTES))
    with pytest.raises(LookupError) as missing:
        table.verify(whole[1:])
    assert f"[{(method, path)!r}]" in str(missing.value)


def test_streams_are_the_routes_that_outlast_their_check():
    """Permissions of events and output are checked again while they run."""
    templates = ("events", "jobs/{job_id}/events", "jobs/{job_id}/stream")
    assert {("GET", f"{IN_POOL}/{template}") for template in templates} == STREAMS
