"""Random requests to the devcluster's API: answered like Kubernetes, never by a failure of the server.

`AGENTPOOL_FUZZ_CASES` sets the number of requests (a slice by default; 10,000 before a release); the test prints the
count by status.
"""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from yarl import URL

from agentpool_core.spec.crd import custom_resource_definition
from tests.fixtures.devcluster import APPLY, JSON_PATCH, MERGE, STRATEGIC, ApiClient

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
BASES = (
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/agentpool.dev/v1alpha1/namespaces/default/agentpools",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/api/v1", "/apis", "/openapi/v3", "/version",
)  # fmt: skip
ENDINGS = (
    "",
    "/thing",
    "/thing/status",
    "/thing/scale",
    "/thing/log",
    "/..",
    "//",
    "/%2e%2e/%2e%2e",
    "/a b",
    "/\u00fc",
)
CONTAINERS = {"containers": [{"name": "c", "image": "i", "command": ["true"]}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": CONTAINERS}
THINGS = {  # objects to read, change and delete, restored at intervals
    BASES[0]: {"spec": CONTAINERS},
    BASES[1]: {"data": {"a": "b"}},
    BASES[2]: {},
    BASES[3]: {},
    BASES[4]: {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}},
    BASES[5]: {"spec": {"handler": {"command": {"argv": ["cat"]}}, "queue": {"redis": {"url": "redis://r:6379/0"}}}},
    BASES[7]: {"spec": {"holderIdentity": "me"}},
}
FIELDS = list(THINGS.values())
PUT_BACK_EVERY = 50  # requests
QUERIES = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "dryRun",
    "fieldManager", "force", "fieldValidation", "propagationPolicy", "gracePeriodSeconds", "timeoutSeconds",
)  # fmt: skip
KINDS = ("Pod", "ConfigMap", "Deployment", "AgentPool", "Namespace", "Node", "Lease", "Status", "")
scraps = st.text(max_size=12) | st.sampled_from(
    ["1", "0", "-1", "true", "a=b", "a in (b", "!", "Foreground", "x" * 300]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | scraps,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scraps, inner, max_size=3),
    max_leaves=10,
)
objects = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"name": st.sampled_from(["thing", "x"]) | scraps}) | values},
    optional={
        "apiVersion": st.sampled_from(["v1", "apps/v1", "agentpool.dev/v1alpha1"]) | values,
        "kind": st.sampled_from(KINDS) | values,
        "spec": st.dictionaries(st.sampled_from(["replicas", "selector", "template", "handler", "a"]), values) | values,
        "status": values,
        "data": values,
    },
)
operations = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | scraps},
        optional={"path": st.sampled_from(["/metadata/labels", "/spec", "/-", ""]) | scraps, "value": values},
    ),
    max_size=3,
)


@st.composite
def bent(draw) -> dict:
    """A valid object, usually with a single hostile value."""
    name = draw(st.sampled_from(["thing", "other", "x1", "x2"]))
    found = json.loads(json.dumps({"metadata": {"name": name, "labels": {"a": "b"}}, **draw(st.sampled_from(FIELDS))}))
    place = found
    while inner := [key for key, value in place.items() if isinstance(value, dict) and value]:
        if not draw(st.booleans()):
            break
        place = place[draw(st.sampled_from(inner))]
    if draw(st.booleans()):
        place[draw(st.sampled_from([*place, "other"]))] = draw(values)
    return found


bodies = (bent() | objects | operations | values).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "PATCH", "PATCH", "DELETE", "OPTIONS"]),
        "path": st.tuples(st.sampled_from(BASES), st.sampled_from(ENDINGS)).map("".join),
        "query": st.dictionaries(st.sampled_from(QUERIES), scraps, max_size=3),
        "data": st.none() | bodies,
        "content_type": st.sampled_from([MERGE, APPLY, STRATEGIC, JSON_PATCH, "application/json", "text/plain", ""]),
    }
)


def drawn(count: int) -> list[dict]:
    """This number of requests, by this run's seed."""
    found: list[dict] = []

    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )  # fmt: skip
    @given(request=requests)
    def collect(request):
        found.append(request)

    collect()
    return found


async def put_back(api: ApiClient) -> None:
    """Restore objects that random requests have deleted."""
    await api.ask("POST", BASES[6], custom_resource_definition())
    await api.until(BASES[5], lambda answer: answer.status == 200, "AgentPools are served")
    for path, fields in THINGS.items():
        answer = await api.ask("POST", path, {"metadata": {"name": "thing"}, **fields})
        assert answer.status in (201, 409), (path, json.dumps(answer.body))


@pytest.mark.timeout(3600)
async def test_no_request_makes_the_server_fail(api: ApiClient):
    """Each answer is below 500, with a Status for a refusal; afterwards the server serves as before."""
    reported: Counter[int] = Counter()
    failed: list[str] = []
    for number, request in enumerate(drawn(CASES)):
        if number % PUT_BACK_EVERY == 0:
            await put_back(api)
        headers = {**api.headers, "Content-Type": request["content_type"]}
        url = URL(api.url + request["path"], encoded="%" in request["path"])
        async with api.session.request(
            request["method"], url, params=request["query"], data=request["data"], headers=headers
        ) as answer:
            reported[answer.status] += 1
            if answer.status >= 500:
                failed.append(f"{request}: {await answer.text()}")
    assert not failed, "\n".join(failed[:20])
    names = [found["metadata"]["name"] for found in (await api.get("/api/v1/namespaces"))["items"]]
    assert "default" in names
    print(f"requests: {sum(reported.values())} sent, by status {dict(sorted(reported.items()))}")  # noqa: T201
