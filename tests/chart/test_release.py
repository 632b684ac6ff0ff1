"""The life of a release on a cluster: kept, upgraded and refused objects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, MATRIX, NAMESPACE, manifests
from tests.chart.test_install_page import allowed, asked, unlawful
from tests.fixtures.redis import free_port
from tests.fixtures.release_ground import Ground

INSTALL = f"helm install agentpool {{chart}} --namespace {NAMESPACE} --create-namespace"
ECHO = """\
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: echo, namespace: agents}
spec: {handler: {command: {argv: [cat]}}}
"""
PROMETHEUS_KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def password(ground: Ground) -> str:
    """Return the bundled Redis's password from the cluster."""
    return ground.shell(
        f"kubectl --namespace {NAMESPACE} get secret agentpool-redis --output jsonpath={{.data.password}}"
    )


def short_names(ground: Ground) -> list[str]:
    """Return the short names of AgentPool on the cluster."""
    crd = ground.shell("kubectl get customresourcedefinition agentpools.agentpool.dev --output json")
    return list(json.loads(crd)["spec"]["names"].get("shortNames", []))


@pytest.mark.timeout(200)
def test_an_upgrade_keeps_the_password_and_upgrades_the_definition(helm_ground: Ground, tmp_path: Path):
    """From an older chart to this one, back, and away.

    The password stays, and the CRD is upgraded and survives the uninstall.
    """
    if helm_ground.record is None:
        pytest.skip("takes the whole cluster for itself")
    old = tmp_path / "old"
    shutil.copytree(CHART, old)
    template = old / "templates/crd.yaml"
    template.write_text(template.read_text().replace("    shortNames:\n    - ap\n", ""))
    helm_ground.shell(INSTALL.format(chart=old))
    generated = password(helm_ground)
    assert short_names(helm_ground) == []
    helm_ground.shell(f"helm upgrade agentpool {CHART} --namespace {NAMESPACE} --set operator.logLevel=debug")
    assert (password(helm_ground), short_names(helm_ground)) == (generated, ["ap"])
    helm_ground.shell(f"helm rollback agentpool --namespace {NAMESPACE}")
    assert (password(helm_ground), short_names(helm_ground)) == (generated, [])
    helm_ground.shell(f"helm uninstall agentpool --namespace {NAMESPACE}")
    assert "agentpools.agentpool.dev" in helm_ground.shell("kubectl get customresourcedefinitions --output name")
    helm_ground.shell(INSTALL.format(chart=CHART))
    assert short_names(helm_ground) == ["ap"]


@pytest.mark.timeout(200)
def test_an_api_server_accepts_every_kind_of_installation(helm_ground: Ground, tmp_path: Path):
    """Each object of each kind of installation passes the API server's validation, AgentPools by the chart's CRD."""
    helm_ground.shell("kubectl create namespace agents; kubectl create namespace research")
    helm_ground.shell(f"kubectl apply --server-side --filename {CHART.parents[1] / 'crds/agentpools.yaml'}")
    helm_ground.shell("kubectl wait --for=condition=Established crd/agentpools.agentpool.dev --timeout 30s")
    files = [str(_written(tmp_path / f"{way}.yaml", values)) for way, values in MATRIX.items()]
    for file in files:
        helm_ground.shell(f"kubectl apply --dry-run=server --validate=strict --filename {file}")


def _written(file: Path, values: dict[str, Any]) -> Path:
    """Write a file with all objects that a plain cluster knows."""
    found = [m for m in manifests(values) if m["kind"] not in PROMETHEUS_KINDS]
    file.write_text(yaml.safe_dump_all(found))
    return file


@pytest.mark.timeout(200)
def test_the_gateway_accepts_jobs_of_pool_editors(helm_ground: Ground):
    """Over HTTP, a ServiceAccount with the role `edit` gets a job's result and pauses the pool; a stranger is refused.

    The gateway has only the rights for these calls. The release serves a single namespace, so neither operator nor
    gateway may read pools anywhere else.
    """
    if helm_ground.record is None:
        pytest.skip("a real cluster's pods cannot be reached from here")
    port, metrics_port = free_port(), free_port()  # the devcluster's pods share one port space
    outcome = helm_ground.shell(
        f"""
        kubectl create namespace agents
        kubectl --namespace agents create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
        kubectl --namespace agents label secret agentpool-redis agentpool.dev/redis=true
        helm install agentpool charts/agentpool --namespace agents --set redis.existingSecret=agentpool-redis \\
          --set gateway.enabled=true --set gateway.replicas=1 --set gateway.port={port} \\
          --set gateway.metricsPort={metrics_port} \\
          --set 'watchNamespaces={{agents}}' --wait
        kubectl apply --filename - <<'EOF'
{ECHO}EOF
        kubectl --namespace agents wait --for=condition=QueueReachable agentpool/echo --timeout 60s
        kubectl --namespace agents create serviceaccount editor
        kubectl --namespace agents create serviceaccount stranger
        kubectl --namespace agents create rolebinding editor \\
          --clusterrole=agents-agentpool-edit --serviceaccount=agents:editor
        kubectl --namespace agents create rolebinding reader \\
          --clusterrole=agents-agentpool-view --serviceaccount=agents:editor
        for account in editor stranger; do
          curl --silent --write-out '\\n%{{http_code}} %{{exitcode}}\\n' --header 'Content-Type: application/json' \\
            --header "Authorization: Bearer $(kubectl --namespace agents create token "$account")" \\
            --data '{{"kind": "greet", "payload": {{"over": "http"}}}}' \\
            "http://127.0.0.1:{port}/v1/namespaces/agents/pools/echo/jobs?wait=30s"
        done
        curl --silent --header "Authorization: Bearer $(kubectl --namespace agents create token editor)" \\
          "http://127.0.0.1:{port}/v1/pools"
        for paused in true false; do
          curl --silent --fail --request PUT --header 'Content-Type: application/json' \\
            --header "Authorization: Bearer $(kubectl --namespace agents create token editor)" \\
            --data "{{\\"paused\\": $paused}}" "http://127.0.0.1:{port}/v1/namespaces/agents/pools/echo/paused"
          kubectl --namespace agents get agentpool/echo --output 'jsonpath={{" spec.paused="}}{{.spec.paused}}'
        done
        """
    )
    assert "spec.paused=true" in outcome
    assert "spec.paused=false" in outcome
    assert '{"pools":["agents/echo"],"cursor":null}' in outcome.replace(" ", "")
    assert '"over":"http"' in outcome.replace(" ", "")
    assert "\n403 0\n" in outcome
    rights = allowed({"gateway": {"enabled": True}, "watchNamespaces": ["agents"]}, account="agentpool-gateway")
    calls = asked(helm_ground, "system:serviceaccount:agents:agentpool-gateway")
    assert unlawful(calls, rights) == set()
    used = {(group, resource, verb) for group, resource, verb, _ in calls}
    assert set().union(*rights.values()) - used == set()
