"""The links of the description: what a call has made is there until it is deleted.

Schemathesis follows the links from answer to answer, as a state machine, and judges each sequence of calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi import checks

from agentpool_core.jobs import PoolRef
from tests.fixtures import gateways as tokens

# `jobs_cancel` is not among them: a cancelled job stays readable until its retention ends. `object_level_authorization`
# is not among the checks: a permission is for all jobs of a pool, and `test_permissions` sends each call with tokens of
# other pools.
BODIES = {"jobs_submit": {"kind": "greet"}, "a2a_create_config": {"url": "http://localhost/push"}}
OPERATIONS = {*BODIES, "jobs_read", "a2a_config", "a2a_delete_config"}
CHECKS = [checks.use_after_free, checks.ensure_resource_availability]
CONFIG = {  # valid calls, and the links that are written, without guesses
    "generation": {"mode": "positive"},
    "phases": {"stateful": {"inference": {"algorithms": []}}},
}
EFFORT = hypothesis.settings(
    max_examples=10,
    stateful_step_count=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.mark.timeout(600)
async def test_links_lead_to_things_that_were_made_and_not_to_deleted_things(gateway_factory, delivering_apart, pool):
    """A submitted job is there for each link of its receipt; a push configuration is there until it is deleted."""
    gateway = await gateway_factory(**delivering_apart)
    seen = await asyncio.to_thread(_follow_links, gateway.url, pool)
    assert {("jobs_read", 200), ("a2a_config", 200), ("a2a_delete_config", 200)} <= seen.keys(), seen


def _follow_links(url: str, pool: PoolRef) -> Counter[tuple[str, int]]:
    """Follow the links; return the number of calls by operation and status."""
    description = _narrowed(httpx.get(f"{url}/openapi.json", timeout=60).json(), pool)
    whole = schemathesis.openapi.from_dict(description, config=schemathesis.Config.from_dict(CONFIG))
    whole.config.update(base_url=url)
    schema = whole.include(operation_id=sorted(OPERATIONS))
    seen: Counter[tuple[str, int]] = Counter()

    class Sequences(schema.as_state_machine()):  # type: ignore[misc]
        """Sequences of calls."""

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            """Add a token."""
            return {"headers": {"Authorization": f"Bearer {tokens.ADMIN}"}, "timeout": 60}

        def after_call(self, response: Any, case: Any) -> None:
            """Count the call."""
            super().after_call(response, case)
            seen[case.operation.definition.raw["operationId"], response.status_code] += 1

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            """Judge the sequence so far."""
            case.validate_response(response, checks=CHECKS, recorder=self.recorder)

    Sequences.run(settings=EFFORT)
    return seen


def _narrowed(description: dict[str, Any], pool: PoolRef) -> dict[str, Any]:
    """Return the description with this pool and these bodies only: a sequence needs no variety of either."""
    place = {"namespace": pool.namespace, "pool": pool.name}
    found = [operation for path in description["paths"].values() for operation in path.values()]
    for operation in (each for each in found if each["operationId"] in OPERATIONS):
        kept = [each for each in operation["parameters"] if each["in"] == "path" or each["required"]]
        operation["parameters"] = kept
        for parameter in kept:
            parameter["schema"] |= {"const": place[parameter["name"]]} if parameter["name"] in place else {}
        if "requestBody" in operation:
            schema = {"const": BODIES[operation["operationId"]]}
            operation["requestBody"]["content"] = {"application/json": {"schema": schema}}
    return description
