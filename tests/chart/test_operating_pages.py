"""The commands of the operating pages (PAGES), run unchanged for a pool that serves.

The test fills in `NS` and `POOL`. The devcluster gets the Prometheus operator's kinds by name only: test_rendering
checks their fields.
"""

from __future__ import annotations

import re

import pytest

from tests.chart.rendering import ROOT
from tests.fixtures.release_ground import Ground

PAGES = ("runbooks", "operate", "slo", "deploying", "autoscaling", "gpus", "external-autoscalers", "redis", "faq")
MONITORS = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
KIND = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.monitoring.coreos.com}}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""
POOL = """
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: echo, namespace: research}
spec: {handler: {command: {argv: [cat]}}, scaling: {minReplicas: 1}}
"""
SECRET = "create secret generic agentpool-redis"  # the prerequisites of a serving pool


def commands(page: str) -> list[str]:
    """Return every command of a page: the lines of the shell blocks, and the code within sentences."""
    text = (ROOT / f"docs/{page}.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [" ".join(one.split()) for one in re.findall(r"`(kubectl [^`]+)`", prose)]
    return [one.replace("NS", "research").replace("POOL", "echo") for one in (*blocks, *inline)]


@pytest.mark.timeout(300)
def test_the_commands_of_the_operating_pages_work(helm_ground: Ground):
    """No command is refused, and each change takes effect."""
    if helm_ground.record is None:
        pytest.skip("takes the whole cluster for itself")
    every = [command for page in PAGES for command in commands(page)]
    (secret,) = [command for command in every if SECRET in command]
    kinds = "---".join(KIND.format(kind=kind, plural=plural) for kind, plural in MONITORS.items())
    helm_ground.shell(
        f"""
        kubectl create namespace agents
        kubectl create namespace research
        {secret}
        kubectl --namespace agents create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
        kubectl --namespace agents label secret agentpool-redis agentpool.dev/redis=true
        helm install agentpool charts/agentpool --namespace agents --set redis.existingSecret=agentpool-redis --wait
        kubectl apply --filename - <<'EOF'{kinds}EOF
        kubectl apply --filename - <<'EOF'{POOL}EOF
        kubectl config set-context --current --namespace research
        kubectl wait agentpool/echo --for=jsonpath='{{.status.readyReplicas}}'=1 --timeout 60s
        """
    )
    for command in every:
        if command != secret:
            helm_ground.shell(command)
    made = helm_ground.shell(f"kubectl --namespace agents get {','.join(MONITORS.values())} --output name")
    assert made.split() == [
        "servicemonitor.monitoring.coreos.com/agentpool",
        "podmonitor.monitoring.coreos.com/agentpool-workers",
        "prometheusrule.monitoring.coreos.com/agentpool",
        "prometheusrule.monitoring.coreos.com/agentpool-slo",
    ]
    assert helm_ground.shell("kubectl get agentpool/echo --output jsonpath='{.spec.replicas}'") == ""  # released
