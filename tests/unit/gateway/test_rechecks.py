"""The lifetime of a stream after the check of the caller's token."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest

from agentpool_core.errors import AgentPoolError, ClusterError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.access.rechecks import wait_until_refused
from agentpool_gateway.http.problems import ProblemError

POOL = PoolRef("research", "analysts")
AWAY = ClusterError("the API server did not answer")
BUSY = ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "too-many-reviews", "busy", remedy="wait")
REVOKED = ProblemError(HTTPStatus.UNAUTHORIZED, "unauthenticated", "revoked", remedy="send another token")


class Script:
    """An authority that gives scripted answers."""

    def __init__(self, *answers: AgentPoolError | None) -> None:
        self.answers = list(answers)

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        assert (token, client) == ("t", "192.0.2.1")
        if error := self.answers.pop(0):
            raise error
        return Caller(name="lead", key="lead")

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        assert (caller.name, verb, pool) == ("lead", Verb.READ, POOL)


@pytest.mark.parametrize(
    ("answers", "reported"),
    [
        ([None, None, REVOKED], REVOKED),
        ([AWAY, None, AWAY, None, REVOKED], REVOKED),
        ([AWAY, REVOKED], REVOKED),
        ([None, AWAY, AWAY], AWAY),
        ([BUSY, BUSY], BUSY),
    ],
)
async def test_a_stream_ends_when_it_is_refused_or_cannot_be_checked_twice(
    answers: list[Any], reported: AgentPoolError
):
    """A short outage of the API server ends no stream; an outage longer than two intervals ends the stream."""
    script = Script(*answers)
    gateway = SimpleNamespace(authority=script, settings=SimpleNamespace(recheck_s=0))
    entry: Any = SimpleNamespace(
        request=SimpleNamespace(token="t", pool=POOL, client="192.0.2.1"), verb=Verb.READ, gateway=gateway
    )
    assert await wait_until_refused(entry) is reported
    assert script.answers == []


async def test_an_unexpected_error_leaves_no_stream_unchecked():
    """The error counts as a failed check: the second failed check in a row ends the stream."""

    class Broken(Script):
        async def caller(self, token: str | None, *, client: str = "") -> Caller:
            self.answers.pop()
            raise TypeError("what the server answered")

    script = Broken(None, None)
    gateway = SimpleNamespace(authority=script, settings=SimpleNamespace(recheck_s=0))
    entry: Any = SimpleNamespace(
        request=SimpleNamespace(token="t", pool=POOL, client="192.0.2.1"), verb=Verb.READ, gateway=gateway
    )
    assert isinstance(await wait_until_refused(entry), ClusterError)
    assert script.answers == []
