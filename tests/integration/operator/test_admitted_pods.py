"""A pool's pods after the API server's admission has completed them."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.spec import AgentPoolSpec
from agentpool_operator.children import manifests
from tests.fixtures.devcluster import ApiClient

SPEC = {"handler": {"command": {"argv": ["cat"]}}, "queue": {"redis": {"url": "redis://redis:6379"}}}
BESIDE = {"containers": [{"name": "beside", "image": "any"}], "initContainers": [{"name": "first", "image": "any"}]}


@pytest.mark.parametrize(("template", "mounted"), [({}, False), ({"automountServiceAccountToken": True}, True)])
async def test_no_container_of_a_worker_pod_gets_a_token(api: ApiClient, template: dict, *, mounted: bool) -> None:
    """The server mounts no token of the service account, unless the pool's template requests a token."""
    worker = {"template": {"spec": BESIDE | template}}
    spec = AgentPoolSpec.model_validate(SPEC | {"worker": worker})
    made = manifests.deployment(PoolRef("default", "p"), "u-1", spec, default_image="agentpool-worker")
    pod = {"metadata": {"name": "p-1"}, "spec": made["spec"]["template"]["spec"]}
    admitted = (await api.create("/api/v1/namespaces/default/pods", pod))["spec"]
    sources = [
        source for volume in admitted.get("volumes", ()) for source in volume.get("projected", {}).get("sources", ())
    ]
    assert any("serviceAccountToken" in source for source in sources) is mounted
    containers = (*admitted["initContainers"], *admitted["containers"])
    paths = [mount["mountPath"] for container in containers for mount in container.get("volumeMounts", ())]
    assert paths == (["/var/run/secrets/kubernetes.io/serviceaccount"] * 3 if mounted else [])
