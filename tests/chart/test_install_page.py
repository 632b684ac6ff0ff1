"""docs/install.md, run as by a new user, and the operator's recorded requests to the API server."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.chart.rendering import ROOT, manifests
from tests.chart.test_rbac import granted, roles_of
from tests.fixtures.local_system import eventually
from tests.fixtures.redis import free_port
from tests.fixtures.release_ground import Ground

PAGE = ROOT / "docs/install.md"
OPERATOR = "system:serviceaccount:agents:agentpool-operator"

# Granted, and used only after a concurrent write of the same object, which is then read again. On a cluster no test can
# provoke such a write at will; tests/integration/operator/test_failures.py does, with a server that refuses (409).
CLASHES = {("apps", "deployments/scale", "get"), ("agentpool.dev", "agentpools", "get")}
# Granted and never used: OpenShift's admission checks whether the account may delete an object with an owner.
OWNERS = {("coordination.k8s.io", "leases", "delete")}
# Granted, and used only on clusters that serve Dynamic Resource Allocation.
DEVICES = {
    ("resource.k8s.io", resource, verb)
    for resource in ("resourceslices", "deviceclasses", "resourceclaims", "resourceclaimtemplates")
    for verb in ("list", "watch")
}
# Busy workers for two GPUs, more jobs than the workers can take, a manual size; and a worker that never becomes ready.
POOLS = """
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: busy, namespace: agents}
spec:
  handler: {command: {argv: [sleep, "1"]}}
  worker: {concurrency: 2, drainSeconds: 5}
  gpu: {perWorker: 1}
  scaling: {maxReplicas: 5}
---
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: keyless, namespace: agents}
spec:
  handler: {command: {argv: [sleep, "1"]}}
  worker: {template: {spec: {volumes: [{name: keys, secret: {secretName: missing}}]}}}
  scaling: {minReplicas: 1}
"""


def page_blocks() -> list[str]:
    """Return the page's commands that are marked as tested."""
    return re.findall(r"<!-- tested -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)


def asked(ground: Ground, account: str = OPERATOR) -> set[tuple[str, str, str, str]]:
    """Return the recorded requests of a ServiceAccount, the operator's by default: group, resource, verb, namespace."""
    assert ground.record is not None
    requests = [json.loads(line) for line in ground.record.read_text().splitlines()]
    return {
        (r["group"], "/".join(filter(None, (r["resource"], r["subresource"]))), r["verb"], r["namespace"])
        for r in requests
        if r["user"] == account and r["resource"]
    }


def allowed(values: dict[str, Any], account: str = "agentpool-operator") -> dict[str | None, set[tuple[str, str, str]]]:
    """Return the chart's grants to a ServiceAccount, by namespace; None is cluster-wide."""
    found = manifests(values)
    places = {m["metadata"].get("namespace") for m in found if m["kind"].endswith("RoleBinding")}
    return {place: granted(roles_of(found, account, place)) for place in places}


@pytest.mark.timeout(300)
def test_the_page_leads_from_nothing_to_a_result_and_back(helm_ground: Ground):
    """The commands, in order: install, test, a pool, a job's result, upgrade, rollback, uninstall, nothing left."""
    everything = "\n".join(helm_ground.shell(block) for block in page_blocks())
    assert "successfully rolled out" in everything
    assert '"from": "helm test"' in everything
    assert '"hello": "world"' in everything
    assert '"still": "here"' in everything
    assert "Rollback was a success" in everything
    helm_ground.shell("kubectl --namespace agents wait --for=delete pods --all --timeout 60s")
    assert_no_failed_start(helm_ground)
    left = helm_ground.shell("kubectl --namespace agents get deployments,pods,networkpolicies --output name")
    assert [name for name in left.splitlines() if not name.startswith("No resources")] == []
    if helm_ground.record is not None:
        assert unlawful(asked(helm_ground), allowed({})) == set()


def assert_no_failed_start(ground: Ground) -> None:
    """Check that no probe of a starting pod was a warning."""
    events = ground.shell("kubectl --namespace agents get events --field-selector type=Warning")
    assert not re.search("Liveness probe failed|Startup probe failed|statuscode: 503", events), events


def block(mark: str) -> str:
    """Return the page's commands with a mark of their own."""
    (found,) = re.findall(rf"<!-- tested: {mark} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@pytest.mark.timeout(300)
def test_a_shared_installation_serves_callers_of_the_gateway(helm_ground: Ground):
    """The gateway answers at a port of its own, because the devcluster's pods share the ports, and forwards none."""
    if helm_ground.record is None:
        pytest.skip("a real cluster's pods cannot be reached from here")
    secret, echo = page_blocks()[0], next(text for text in page_blocks() if "name: echo" in text)
    port = free_port()
    ports = f"--set gateway.port={port} --set gateway.metricsPort={free_port()} --set gateway.replicas=1"
    gateway = re.sub(r"kubectl .* port-forward .*\n", "", block("gateway")).replace(
        "127.0.0.1:8088", f"127.0.0.1:{port}"
    )
    helm_ground.shell(f"{secret}\nkubectl create namespace research\n{block('shared')}\n{echo}")
    answer = helm_ground.shell(gateway.replace("--set gateway.enabled", f"{ports} --set gateway.enabled"))
    assert '"result":{"over":"http"}' in answer
    assert_no_failed_start(helm_ground)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["agents"]}], ids=["everywhere", "in-one-namespace"])
def test_the_operator_uses_exactly_the_granted_rights(helm_ground: Ground, values: dict[str, Any]):
    """Each request is granted, and each grant is used, by a pool's life and a restart.

    The new leader repeats the old leader's event, which increases the count of the existing event.
    """
    if helm_ground.record is None:
        pytest.skip("only the devcluster records requests")
    settings = "".join(f" --set {name}='{json.dumps(value)}'" for name, value in values.items())
    sized = "kubectl --namespace agents wait agentpool/busy --timeout 60s --for=jsonpath='{.status.readyReplicas}'"
    scale = "kubectl --namespace agents scale agentpool/busy --replicas"
    helm_ground.shell(
        f"""
        kubectl create namespace agents
        kubectl --namespace agents create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
        kubectl --namespace agents label secret agentpool-redis agentpool.dev/redis=true
        helm install agentpool charts/agentpool --namespace agents --wait \
          --set redis.existingSecret=agentpool-redis{settings}
        helm test agentpool --namespace agents
        kubectl apply --filename - <<'EOF'{POOLS}EOF
        kubectl --namespace agents wait --for=condition=QueueReachable agentpool/busy --timeout 60s
        seq 90 > "$HOME/payloads"
        agentpool submit nap --file "$HOME/payloads" --pool agents/busy --redis "$REDIS_URL"
        {sized}=2
        {scale}=1 && {sized}=1
        kubectl --namespace agents rollout restart deployment/agentpool-operator
        kubectl --namespace agents rollout status deployment/agentpool-operator --timeout 60s
        {scale}=2 && {sized}=2
        {scale}=1 && {sized}=1
        """
    )
    rights = allowed(values)

    def unused() -> set[tuple[str, str, str]]:
        used = {(group, resource, verb) for group, resource, verb, _ in asked(helm_ground)}
        return set().union(*rights.values()) - used

    eventually(lambda: unused() <= CLASHES | OWNERS | DEVICES, "all that is granted has been used")
    assert unlawful(asked(helm_ground), rights) == set()


def unlawful(
    calls: set[tuple[str, str, str, str]], rights: dict[str | None, set[tuple[str, str, str]]]
) -> set[tuple[str, str, str, str]]:
    """Return the calls without a grant."""
    return {
        (group, resource, verb, namespace)
        for group, resource, verb, namespace in calls
        if (group, resource, verb) not in rights[None] | rights.get(namespace or None, set())
    }
