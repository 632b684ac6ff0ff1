"""Failures of Redis and of the Kubernetes API as problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

import pytest

from agentpool_core.errors import (
    AgentPoolError,
    ClusterError,
    ClusterUnreachableError,
    QueueAccessError,
    QueueMemoryError,
    QueueReplyError,
    QueueUnreachableError,
    SettingError,
    SubmitUnknownError,
    UnknownPoolError,
)
from agentpool_core.kube.errors import ClusterRefusalError, refusal
from agentpool_core.redis_address import AddressError, missing_secret
from agentpool_gateway.http import problems
from agentpool_gateway.http.problems import problem_of

SECRET = "QXZ"  # stands for an address or a server's own words
BAD_URL = AddressError(field="spec.queue.redis.url", value=None, problem=SECRET, remedy=SECRET)


def refused(status: int) -> ClusterRefusalError:
    return refusal(request="GET", status=status, message=SECRET, retry_after_s=None)


@pytest.mark.parametrize(
    ("error", "status", "name", "detail", "retry"),
    [
        (QueueUnreachableError(SECRET), 503, "queue-unavailable", "Redis of the pool is unreachable", "1"),
        (SubmitUnknownError(SECRET), 503, "queue-unavailable", "Redis of the pool is unreachable", "1"),
        (QueueAccessError(SECRET), 503, "queue-unavailable", "it refuses the user", "30"),
        (QueueMemoryError(SECRET), 503, "queue-unavailable", "it is out of memory", "30"),
        (QueueReplyError(doing="x", problem=SECRET), 503, "queue-unavailable", "its answer cannot be used", "30"),
        (missing_secret("n", SECRET), 503, "queue-unavailable", "names no Redis that can be used", "30"),
        (BAD_URL, 503, "queue-unavailable", "names no Redis that can be used", "30"),
        (ClusterUnreachableError(SECRET), 503, "cluster-unavailable", "Kubernetes API is unreachable", "1"),
        (refused(429), 503, "cluster-unavailable", "cannot serve at the moment (status 429)", "1"),
        (refused(500), 503, "cluster-unavailable", "cannot serve at the moment (status 500)", "1"),
        (refused(403), 502, "cluster-refused", "Kubernetes API refuses the gateway (status 403)", "30"),
        (ClusterError(SECRET), 502, "cluster-refused", "Kubernetes API sent an answer that cannot be used", "30"),
    ],
)
def test_a_failure_behind_the_gateway_names_its_part(
    error: AgentPoolError, status: int, name: str, detail: str, retry: str
):
    """The problem has a status and a time to retry, and contains neither an address nor a server's message."""
    found, body, headers = problem_of(error)
    assert (found, body["status"], body["type"]) == (status, status, f"urn:agentpool:problem:{name}")
    assert detail in body["detail"]
    assert body["remedy"]
    assert headers == {"Retry-After": retry}
    assert SECRET not in json.dumps(body)


def test_a_request_that_was_not_executed_can_be_sent_again_unchanged():
    """Only a submit that Redis did not confirm needs the same idempotency key."""
    before = problem_of(ClusterUnreachableError("away"), executed=False)[1]
    during = problem_of(ClusterUnreachableError("away"))[1]
    unknown = problem_of(SubmitUnknownError("away"))[1]
    assert "did not execute" in before["remedy"]
    assert "did not execute" not in during["remedy"]
    assert "same Idempotency-Key" in unknown["remedy"]


def test_a_mistake_of_the_caller_keeps_its_detail_and_remedy():
    """Detail and remedy come from the error's attributes."""
    error = UnknownPoolError("a/b")
    _, body, headers = problem_of(error)
    assert (body["detail"], body["remedy"], headers) == (error.detail, error.remedy, {})
    bad = SettingError(field="pool", value="A", problem="not a name; too long", remedy="use lower case")
    _, body, _ = problem_of(bad)
    assert (body["detail"], body["remedy"], body["field"]) == ("pool: not a name; too long", "use lower case", "pool")


def test_an_error_without_a_status_is_a_failure_of_the_gateway():
    """The text of such an error stays in the log."""
    status, body, _ = problem_of(AgentPoolError(SECRET))
    assert (status, body["detail"]) == (500, "the gateway failed")


def test_the_typescript_client_has_an_error_for_each_unknown_name():
    """A 404 of a pool, job, schedule or webhook is an error class of its own in both clients."""
    text = (Path(__file__).parents[3] / "clients/typescript/src/errors.ts").read_text(encoding="utf-8")
    unknown = {name: kind.__name__ for kind, status, name in problems._STATUS if status is HTTPStatus.NOT_FOUND}
    assert {"unknown-pool", "unknown-schedule", "unknown-webhook"} <= unknown.keys()
    for name, kind in unknown.items():
        assert f'"{name}": {kind},' in text
        assert f"export class {kind} extends ProblemError" in text
