"""The gateway conforms to the served description.

Schemathesis generates valid and invalid requests, and checks each answer.

A slice runs here; AGENTPOOL_SCHEMA_CASES sets the number of cases for each operation (thousands take a quarter of an
hour).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks as openapi_checks

from agentpool_core.client import Client
from agentpool_core.jobs import PoolRef
from tests.fixtures import gateways as tokens

CASES = int(os.environ.get("AGENTPOOL_SCHEMA_CASES", "4"))
# The checks of call sequences are those of `test_links`: each call here stands alone.
CHECKS: tuple[Callable[..., Any], ...] = (
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.ignored_auth,
    openapi_checks.missing_required_header,
    openapi_checks.unsupported_method,
    openapi_checks.allow_header_conformance,
)
STREAMS = (
    "/events",
    "/stream",
    ":stream",
    ":subscribe",
)  # streams do not end by themselves; separate tests cover them
# Operations that may refuse a request which the description allows, with the condition that no JSON Schema expresses.
STRICTER = {
    "PUT /schedules/{name}": "a cron expression and a time zone have a meaning",
    "POST /a2a/message:send": "options of a message and its task have a meaning",
    "POST /a2a/tasks/{job_id}:cancel": "a task that has ended refuses, with the specification's 400",
    "POST /mcp": "a message has the envelope of its version of the protocol",
}
PUBLIC_KEYS = "/v1/a2a/jwks.json"  # verify signed cards, so they need no token
BODILESS = ("/dead/", "/redeliver", "/a2a/tasks/", "/signals/")
EFFORT = hypothesis.settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=CASES < 100,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.mark.timeout(3600)
async def test_no_answer_differs_from_the_description(gateway_factory, delivering_apart, client, pool: PoolRef):
    """No 5xx, no undescribed status, content type or shape; valid requests are taken, and invalid ones refused."""
    gateway = await gateway_factory(max_wait_s=0.01, **delivering_apart)
    jobs = [(await client.submit("greet")).job_id for _ in range(3)]
    done = await asyncio.to_thread(_run, gateway.url, pool, jobs)
    print(f"gateway: {done} requests sent")  # noqa: T201 - a fuzz run prints the count
    assert done >= CASES * 20


def _run(url: str, pool: PoolRef, jobs: list[str]) -> int:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", timeout=60)
    done = 0
    for operation in (found.ok() for found in schema.get_all_operations()):
        if not operation.path.endswith(STREAMS):
            for mode in schemathesis.GenerationMode:  # allowed and forbidden by the description
                done += _fuzz(operation, mode, pool, jobs)
    return done


def _fuzz(operation: Any, mode: Any, pool: PoolRef, jobs: list[str]) -> int:
    count = 0
    known = iter(_again(jobs))

    @hypothesis.seed(len(operation.path))
    @EFFORT
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        nonlocal count
        count += 1
        if count % 3:  # a third of the cases keeps the generated names
            names = {"namespace": pool.namespace, "pool": pool.name, "job_id": next(known)}
            names |= {"config_id": "c", "name": "go"}
            case.path_parameters = {name: names[name] for name in case.path_parameters or {}}
        _fit_here(case)
        headers = {"Authorization": f"Bearer {tokens.ADMIN}"}
        wrong = case.meta is not None and schemathesis.GenerationMode.NEGATIVE in {
            _mode_of(case, "BODY"),
            _mode_of(case, "QUERY"),
        }
        more = [openapi_checks.negative_data_rejection] if wrong and "/a2a" not in operation.path else []
        made_up = {"cursor", "pageToken"} & (case.query or {}).keys()  # a page's cursor comes from the page before
        lines = case.media_type == "application/x-ndjson"  # of which no schema speaks
        if not (wrong or made_up or lines or _short(operation) in STRICTER):
            more.append(openapi_checks.positive_data_acceptance)
        case.call_and_validate(headers=headers, checks=[*CHECKS, *more], timeout=30)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # an operation without input accepts no wrong input
        one()
    return count


def _fit_here(case: Any) -> None:
    """Take out of a case values with a meaning in some state only: hosts, jobs, pages, kinds of servers.

    No schema sees header and body together: on_conflict needs a key in one of them, a list of jobs takes none in the
    header, and the key of a job is in one place.
    """
    if str((case.query or {}).get("durability")) in {"fsync", "replica"}:
        del case.query["durability"]  # this Redis has neither a file nor a replica, and says so with 503
    for job in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(job, dict):
            for name in {"webhook", "after", "cursor", "on_conflict"} & job.keys():
                del job[name]
            for name in ("delay", "ttl", "timeout"):
                if isinstance(job.get(name), str):
                    job[name] = "5m"  # a text has a bound that no pattern expresses
            if isinstance(job.get("url"), str):
                job["url"] = "http://localhost/hook"
    keyed = isinstance(case.body, list) or (isinstance(case.body, dict) and "idempotency_key" in case.body)
    if keyed and case.headers:
        case.headers.pop("Idempotency-Key", None)


def _short(operation: Any) -> str:
    """Return the method and the path below the pool."""
    path = operation.path.removeprefix("/v1/namespaces/{namespace}/pools/{pool}")
    return f"{operation.method.upper()} {path}"


def _mode_of(case: Any, part: str) -> Any:
    """Return whether a part of the request conforms to the description."""
    found = case.meta.components.get(ParameterLocation[part])
    return found.mode if found else None


def _again(jobs: list[str]) -> Iterator[str]:
    while True:
        yield from jobs


def test_the_description_is_whole(schema_of: dict[str, Any]):
    """Every operation of the API describes permissions, input and answers."""
    for path, operations in schema_of["paths"].items():
        for method, operation in operations.items():
            if path == PUBLIC_KEYS:
                assert operation["security"] == [], path
            elif path.startswith("/v1/"):
                assert operation["security"] == [{"bearer": []}], path
                assert {"401", "403"} <= operation["responses"].keys(), path
            if method in {"post", "put"} and not any(part in path for part in BODILESS):
                assert operation["requestBody"]["required"], path


@pytest.fixture
async def client(redis_url: str, pool: PoolRef):
    """The pool's client."""
    async with Client(redis_url, pool=pool) as client:
        yield client


@pytest.fixture
def schema_of() -> dict[str, Any]:
    """Return the served description."""
    from agentpool_gateway.access.authority import AllowAll
    from agentpool_gateway.app import build
    from agentpool_gateway.pools.locations import SingleRedis
    from agentpool_gateway.settings import GatewaySettings

    return build(GatewaySettings(), SingleRedis("redis://127.0.0.1:1/0"), AllowAll()).openapi()
