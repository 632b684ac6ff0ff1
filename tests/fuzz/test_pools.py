"""Random AgentPools, drawn from the resource's schema and bent: refused or served; a bad pool stops no good pool.

`AGENTPOOL_FUZZ_CASES` sets the number of pools (a slice by default); the test prints the count.
"""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_core.spec.crd import custom_resource_definition
from tests.fixtures.redis import wait_until

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
TOGETHER = 250  # pools that are there at once; then they are deleted, and the next come
SEEN_WITHIN_SECONDS = 60.0
SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
_ODD_TEXTS = ["", "x" * 5_000, "../../etc", "${HOME}", "a:b:c", "\0"]
HOSTILE = st.sampled_from([*_ODD_TEXTS, None, -1, 2**31, 2**63, 1e308, True, [], {}, [[]], {"a": {"b": {}}}])


def like(schema: dict) -> st.SearchStrategy:  # noqa: PLR0911 - a line for each type
    """Values that fit a schema's types and bounds; patterns and rules may be broken."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _object(schema)
        case "array":
            return st.lists(like(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=3)
        case "integer":
            lowest, highest = schema.get("minimum", -5), schema.get("maximum", 10**6)
            return st.integers(lowest, highest) | st.sampled_from([lowest, highest])
        case "number":
            return st.floats(0, 100)
        case "boolean":
            return st.booleans()
        case "string":
            words = ["app:app", "default", "redis://127.0.0.1:1/0", "nvidia.com/gpu", "a", "/x", "1", "Pods", "url"]
            return st.sampled_from(words) | st.text(max_size=8)
    return st.one_of(st.none(), st.integers(), st.text(max_size=8))


def _object(schema: dict) -> st.SearchStrategy:
    fields = {name: like(part) for name, part in schema.get("properties", {}).items()}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        odd = {"spec": {"containers": [{"name": "worker", "image": ""}, {"name": "worker"}], "nodeSelector": {"a": 1}}}
        return st.sampled_from(
            [{}, odd, {"spec": None}, {"metadata": {"labels": {"a": None}}}, {"spec": {"containers": 1}}]
        )
    required = {name: fields.pop(name) for name in schema.get("required", []) if name in fields}
    return st.fixed_dictionaries(required, optional=fields)


@st.composite
def pools(draw) -> dict:
    """A nearly valid spec, usually with a single handler, and at times with a hostile value."""
    spec = draw(like(SCHEMA))
    if draw(st.integers(0, 9)):
        spec["handler"] = {"command": {"argv": ["cat"]}}
    if draw(st.booleans()):
        spec.setdefault("queue", {})["redis"] = {"url": "redis://127.0.0.1:1/0"}
    place, depth = spec, draw(st.integers(0, 3))
    if draw(st.integers(0, 2)) == 0:
        while depth and (inner := [name for name, value in place.items() if isinstance(value, dict) and value]):
            place, depth = place[draw(st.sampled_from(sorted(inner)))], depth - 1
        place[draw(st.sampled_from(sorted(place) or ["handler"]))] = draw(HOSTILE)
    return spec


@pytest.mark.timeout(3600)
async def test_no_pool_stops_the_operator_or_a_good_pool(start_operator, pool_of, look, cluster, namespace):
    """Each random pool is refused by the API server or gets a condition; a good pool after them is served."""
    operator = start_operator()
    drawn: list[dict] = []

    @settings(
        max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )  # fmt: skip
    @given(spec=pools())
    def collect(spec):
        drawn.append(spec)

    collect()
    await pool_of("good")
    taken = 0
    for first in range(0, CASES, TOGETHER):
        names = await sent(cluster, namespace, drawn[first : first + TOGETHER], first)
        taken += len(names)

        async def all_reported(names: tuple[str, ...] = tuple(names)) -> bool:
            return all([await look.condition("Ready", name) is not None for name in names])

        await wait_until(all_reported, "every pool that was taken has a condition Ready", within_s=SEEN_WITHIN_SECONDS)
        await pool_of(f"good{first}")

        async def served(name: str = f"good{first}") -> bool:
            return all([await look.condition("Ready", each) == ("True", "Serving") for each in ("good", name)])

        await wait_until(
            served, f"the good pools are served\n{operator.written()[-3000:]}", within_s=SEEN_WITHIN_SECONDS
        )
        for name in names:
            await cluster.delete(f"{paths.agentpools(namespace)}/{name}")
    assert operator.running(), operator.written()[-3000:]
    assert "Traceback" not in operator.written(), operator.written()[-6000:]
    print(f"pools: {len(drawn)} sent, {taken} taken, each with a condition")  # noqa: T201 - a fuzz run reports the count


async def sent(cluster, namespace, specs, first: int) -> list[str]:
    """Create the pools, and return the names that the API server accepted."""
    taken = []
    for number, spec in enumerate(specs, first):
        name = f"f{number}"
        body = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec}
        with contextlib.suppress(ClusterError):  # refused, which is an answer
            await cluster.create(paths.agentpools(namespace), body)
            taken.append(name)
    return taken
