"""The chart rendered by Helm's own engine, and the manifests checked against Kubernetes' types."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import helm_python
import kubernetes.client.models as kubernetes_models
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/agentpool"
RELEASE = "agentpool"
NAMESPACE = "agents"
Manifest = dict[str, Any]

# Every kind of installation in the documents.
MATRIX: dict[str, Manifest] = {
    "defaults": {},
    "own-redis": {"redis": {"existingSecret": "my-redis", "existingSecretKey": "address"}},
    "no-redis": {"redis": {"enabled": False}},
    "two-namespaces": {"watchNamespaces": ["agents", "research"], "redis": {"copySecretTo": ["research"]}},
    "elsewhere-only": {
        "watchNamespaces": ["research"],
        "rbac": {"capacity": False, "secretNames": ["agentpool-redis"]},
    },
    "gateway": {"gateway": {"enabled": True, "allowFrom": [{"namespaceSelector": {}}]}},
    "gateway-with-webhooks": {
        "gateway": {"enabled": True, "webhooks": {"hosts": ["hooks.example.org"], "keysSecret": "webhooks"}}
    },
    "gateway-with-tokens": {"gateway": {"enabled": True, "auth": {"mode": "tokens", "tokensSecret": "callers"}}},
    "gateway-in-namespaces": {"gateway": {"enabled": True}, "watchNamespaces": ["agents"]},
    "observed": {
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True, "slo": {"enabled": True}},
            "dashboard": {"enabled": True},
        }
    },
    "walled": {
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "workers": {"enabled": True, "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
        },
        "watchNamespaces": ["agents", "research"],
    },
    "open": {"networkPolicy": {"enabled": False}},
    "bare": {
        "crds": {"enabled": False},
        "rbac": {"create": False},
        "operator": {
            "replicas": 1,
            "serviceAccount": {"create": False, "name": "mine"},
            "podDisruptionBudget": {"enabled": False},
            "topologySpreadConstraints": [],
        },
        "tests": {"enabled": False},
    },
    "mirrored": {
        "imageRegistry": "registry.example.com/team",
        "imagePullSecrets": [{"name": "pull"}],
        "operator": {"image": {"digest": "sha256:" + "a" * 64}},
    },
    "placed": {
        "commonLabels": {"team": "platform"},
        "operator": {
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"key": "system", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "d"},
            "extraArgs": ["--log-level=debug"],
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "extraEnvFrom": [{"secretRef": {"name": "more"}}],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        },
        "redis": {
            "persistence": {"storageClass": "fast", "size": "10Gi"},
            "nodeSelector": {"pool": "system"},
            "extraConfig": "maxmemory 256mb",
        },
    },
    "trial-without-volume": {"redis": {"persistence": {"enabled": False}, "auth": {"password": "secret"}}},
    "with-more": {
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: as-text}",
        ]
    },
}


class StrictLoader(yaml.CSafeLoader):
    """YAML as the API server's strict decoder reads YAML: each key of a map occurs once."""


def _map_without_repeats(loader: StrictLoader, node: yaml.MappingNode) -> Manifest:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise yaml.constructor.ConstructorError(problem=f"repeated keys {repeated}", problem_mark=node.start_mark)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _map_without_repeats)


@functools.cache
def chart() -> helm_python.Chart:
    """The chart, loaded once."""
    return helm_python.Chart.load(CHART)


def sources(values: Manifest | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """Return the rendered text of each template, by path below `templates`."""
    rendered = chart().render(values or {}, name=release, namespace=namespace)
    return {name.split("/templates/", 1)[1]: text for name, text in rendered.items()}


def manifests(values: Manifest | None = None, **release: str) -> list[Manifest]:
    """Return all objects of a release, hooks included."""
    texts = (text for name, text in sources(values, **release).items() if not name.endswith(".txt"))
    return [document for text in texts for document in yaml.load_all(text, StrictLoader) if document]


def only(found: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the single object of that kind and name."""
    (match,) = [m for m in found if m["kind"] == kind and m["metadata"]["name"] == name]
    return match


def pod_of(manifest: Manifest) -> Manifest | None:
    """Return the pod of a manifest as a pod template, or None without a pod."""
    match manifest["kind"]:
        case "Pod":
            return {"metadata": manifest["metadata"], "spec": manifest["spec"]}
        case "Deployment" | "StatefulSet":
            return dict(manifest["spec"]["template"])
        case "AgentPool":
            return dict(manifest["spec"]["worker"]["template"])
    return None


def check_against_kubernetes(manifest: Manifest) -> None:
    """Raise pydantic's ValidationError for a field that Kubernetes does not have, lacks, or types differently."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    del group
    model = getattr(kubernetes_models, f"{version[0].upper()}{version[1:]}{manifest['kind']}")
    model.model_validate(manifest)


def check_against_the_prometheus_operator(manifest: Manifest) -> None:
    """Raise pydantic's ValidationError for a field that the Prometheus operator's definitions refuse or prune.

    The types are generated from the published definitions; the import takes seconds, so only tests with a need import
    the types.
    """
    models = importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    getattr(models, manifest["kind"]).model_validate(manifest, extra="forbid")


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether a label selector of the charts matches: equality, and `In`."""
    among = selector.get("matchExpressions", [])
    assert {one["operator"] for one in among} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in among
    )
