"""The chart rendered for every kind of installation."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from helm_python.errors import HelmRenderError

from agentpool_core.spec import AgentPoolSpec
from tests.chart.rendering import (
    CHART,
    MATRIX,
    NAMESPACE,
    RELEASE,
    check_against_kubernetes,
    check_against_the_prometheus_operator,
    manifests,
    only,
    pod_of,
    selects,
    sources,
)

PROMETHEUS_KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
COMPONENT = "app.kubernetes.io/component"
CHART_VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
ways = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())


@ways
def test_helm_lint_has_no_complaint(values: dict[str, Any]):
    """Helm's linter has at most the advice to add an icon."""
    report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE)
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@ways
def test_every_manifest_conforms_to_kubernetes(values: dict[str, Any]):
    """Each object has only fields of the Kubernetes type, with every required field and the right types."""
    for manifest in manifests(values):
        if manifest["kind"] == "AgentPool":
            AgentPoolSpec.model_validate(manifest["spec"])
        elif manifest["kind"] in PROMETHEUS_KINDS:
            check_against_the_prometheus_operator(manifest)
        else:
            check_against_kubernetes(manifest)


@ways
def test_objects_have_names_namespaces_and_labels(values: dict[str, Any]):
    """No two objects share a name; namespaced objects have a namespace.

    All except the user's have the release's labels.
    """
    found = [m for m in manifests(values) if not m["metadata"]["name"].endswith(("-more", "as-text"))]
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in found]
    assert len(keys) == len(set(keys))
    for manifest in found:
        clusterwide = manifest["kind"] in {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
        assert ("namespace" in manifest["metadata"]) is not clusterwide, manifest["metadata"]["name"]
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels.items() >= values.get("commonLabels", {}).items()


@ways
def test_selectors_find_their_pods(values: dict[str, Any]):
    """Each Service, budget and policy of a component selects that component's pods and no further pods."""
    found = manifests(values)
    pods = [template for m in found if m["kind"] in {"Deployment", "StatefulSet"} and (template := pod_of(m))]
    for manifest in found:
        spec, component = manifest.get("spec", {}), manifest["metadata"].get("labels", {}).get(COMPONENT)
        match manifest["kind"]:
            case "Service":
                selector = {"matchLabels": spec["selector"]}
            case "PodDisruptionBudget":
                selector = spec["selector"]
            case "NetworkPolicy" if component != "workers":
                selector = spec["podSelector"]
            case _:
                continue
        matched = [p["metadata"]["labels"][COMPONENT] for p in pods if selects(selector, p["metadata"]["labels"])]
        assert matched == [component], manifest["metadata"]["name"]


@pytest.mark.parametrize("part", ["operator", "gateway"])
def test_a_component_outlives_the_loss_of_a_node_and_its_upgrade(part: str):
    """By default two pods run, on two nodes if possible; an eviction removes a single pod, a rollout none."""
    found = manifests({"gateway": {"enabled": True}})
    spec = only(found, "Deployment", f"{RELEASE}-{part}")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pod = spec["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [spread | {"labelSelector": spec["selector"]}]
    budget = only(found, "PodDisruptionBudget", f"{RELEASE}-{part}")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": spec["selector"]}


def test_a_spread_of_your_own_keeps_its_selector():
    """A spread without a selector gets the component's selector."""
    mine = {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
    mine["labelSelector"] = {"matchLabels": {"a": "b"}}
    found = manifests({"operator": {"topologySpreadConstraints": [mine]}})
    pod = only(found, "Deployment", f"{RELEASE}-operator")["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [mine]


@ways
def test_every_pod_satisfies_the_restricted_standard(values: dict[str, Any]):
    """Pods run as a plain user, without privileges or host access, on a read-only root, under the default seccomp."""
    for manifest in manifests(values):
        template = pod_of(manifest)
        if template is None:
            continue
        pod = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(volume.keys() & {"emptyDir", "secret", "configMap"} for volume in pod.get("volumes", []))
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "hostPort" not in str(container.get("ports"))


@ways
def test_only_clients_of_the_api_server_get_a_token(values: dict[str, Any]):
    """The ServiceAccount's token is mounted into the operator and the gateway, nowhere else."""
    with_token = {
        m["metadata"]["name"]
        for m in manifests(values)
        if (template := pod_of(m)) and template["spec"]["automountServiceAccountToken"]
    }
    assert with_token <= {f"{RELEASE}-operator", f"{RELEASE}-gateway"}


RELEASES = [
    "a",
    "agentpool",
    "a-very-long-release-name-that-helm-still-takes-53char",
    "team.agentpool",
    "v1.2",
    "a-name-whose-fortieth-character-is-a-dot.x",
]


@pytest.mark.parametrize("release", RELEASES)
def test_any_release_name_makes_valid_names(release: str):
    """Names stay within a DNS label, for any name of the release."""
    for manifest in manifests(MATRIX["gateway"], release=release):
        if manifest["kind"] != "CustomResourceDefinition":
            assert re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])


def test_the_bundled_redis_keeps_its_data_and_its_secret():
    """The server appends to a file on a claim and never evicts; the password is in the default Secret of pools."""
    found = manifests()
    conf = only(found, "ConfigMap", "agentpool-redis")["data"]["valkey.conf"]
    assert {"appendonly yes", "maxmemory-policy noeviction", "dir /data"} <= set(conf.splitlines())
    secret = only(found, "Secret", "agentpool-redis")["stringData"]
    assert secret["url"] == f"redis://:{secret['password']}@agentpool-redis.{NAMESPACE}.svc:6379/0"
    assert secret["auth.conf"] == f'requirepass "{secret["password"]}"\n'
    assert len(secret["password"]) == 32
    claim = only(found, "StatefulSet", "agentpool-redis")["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"


def test_every_default_pool_finds_the_bundled_redis():
    """The Secret has the name of the AgentPool's default, in each namespace with a copy, with a single password."""
    default = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["cat"]}}}).queue.redis.url_from
    assert default is not None
    copies = [m for m in manifests(MATRIX["two-namespaces"]) if m["kind"] == "Secret"]
    assert {m["metadata"]["namespace"] for m in copies} == {"agents", "research"}
    assert {m["metadata"]["name"] for m in copies} == {default.secret_key_ref.name}
    assert len({m["stringData"][default.secret_key_ref.key] for m in copies}) == 1
    assert copies[1]["stringData"].keys() == {"url"}


def test_your_own_redis_replaces_the_bundled_redis():
    """With existingSecret nothing of the bundled Redis is installed, and the test uses that Secret."""
    found = manifests(MATRIX["own-redis"])
    assert not [m for m in found if m["kind"] in {"StatefulSet", "Secret"}]
    pool = only(found, "AgentPool", "agentpool-test")
    assert pool["spec"]["queue"]["redis"]["urlFrom"]["secretKeyRef"] == {"name": "my-redis", "key": "address"}


def test_the_definition_is_upgraded_and_kept():
    """The CRD is a template, kept on uninstall by default, and the same as the repository's."""
    crd = only(manifests(), "CustomResourceDefinition", "agentpools.agentpool.dev")
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    loose = only(manifests({"crds": {"keep": False}}), "CustomResourceDefinition", "agentpools.agentpool.dev")
    assert "annotations" not in loose["metadata"]
    source = yaml.safe_load((CHART.parents[1] / "crds/agentpools.yaml").read_text())
    assert crd["spec"] == source["spec"]
    assert not [m for m in manifests(MATRIX["bare"]) if m["kind"] == "CustomResourceDefinition"]


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"rbac": {"capacity": False}}, True),
        ({"operator": {"logLevel": "debug"}}, True),
        ({"worker": {"image": {"tag": "9"}}}, True),
        ({"redis": {"extraConfig": "maxmemory 1gb"}}, False),
        ({"crds": {"enabled": False}}, True),
        ({"metrics": {"dashboard": {"enabled": True}}}, False),
    ],
)
def test_changed_arguments_or_permissions_roll_the_operator(change: dict[str, Any], rolls: bool):  # noqa: FBT001
    """The operator's pods are replaced after a change of their arguments or permissions, and only then."""
    before = only(manifests(), "Deployment", "agentpool-operator")["spec"]["template"]
    after = only(manifests(change), "Deployment", "agentpool-operator")["spec"]["template"]
    assert (before != after) is rolls


def test_changed_settings_roll_the_bundled_redis():
    """New lines for valkey.conf or a new password replace the pod; a new chart version alone does not."""
    before = only(manifests(), "StatefulSet", "agentpool-redis")["spec"]["template"]
    for change in ({"extraConfig": "maxmemory 1gb"}, {"auth": {"password": "new"}}):
        assert only(manifests({"redis": change}), "StatefulSet", "agentpool-redis")["spec"]["template"] != before
    assert CHART_VERSION not in str(before)


def test_a_pods_annotations_hold_no_plain_hash_of_the_password():
    """A reader of pods could test a list of passwords against a plain hash in no time."""
    found = manifests({"redis": {"auth": {"password": "letmein"}}})
    text = str([m for m in found if m["kind"] != "Secret"])
    assert "letmein" not in text
    assert [
        name for name in ("md5", "sha1", "sha256", "sha512") if hashlib.new(name, b"letmein").hexdigest() in text
    ] == []


def test_images_come_from_the_mirror():
    """The registry is a prefix of AgentPool's images; a digest overrides the tag; pods get the pull secret."""
    found = manifests(MATRIX["mirrored"])
    operator = only(found, "Deployment", "agentpool-operator")["spec"]["template"]["spec"]
    assert operator["containers"][0]["image"] == "registry.example.com/team/agentpool-operator@sha256:" + "a" * 64
    assert (
        f"--worker-image=registry.example.com/team/agentpool-worker:{CHART_VERSION}"
        in operator["containers"][0]["args"]
    )
    for manifest in found:
        if template := pod_of(manifest):
            assert template["spec"]["imagePullSecrets"] == [{"name": "pull"}]


@ways
def test_the_flags_exist(values: dict[str, Any]):
    """Each argument in the chart is an option of the started command."""
    from agentpool_gateway.commands import gateway
    from agentpool_operator.commands import operator

    commands = {"operator": operator, "gateway": gateway}
    for manifest in manifests(values):
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            known = {
                name for option in commands[container["name"]].params for name in (*option.opts, *option.secondary_opts)
            }
            assert {argument.split("=")[0] for argument in container["args"]} <= known


def test_workers_have_a_network_policy_in_each_served_namespace():
    """Each served namespace has the workers' policy, which allows DNS, Redis and the user's own rules."""
    policies = [
        m
        for m in manifests(MATRIX["walled"])
        if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == "agentpool-workers"
    ]
    assert {p["metadata"]["namespace"] for p in policies} == {"agents", "research"}
    for policy in policies:
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert ports == {53, 5353, "redis", 6379, 443}


@ways
def test_the_notes_name_commands_for_this_release(values: dict[str, Any]):
    """The notes have the checks of the release: the operator's rollout, then the test if enabled."""
    notes = sources(values)["NOTES.txt"]
    assert f"kubectl --namespace {NAMESPACE} rollout status deployment/{RELEASE}-operator" in notes
    has_test = any(m["kind"] == "AgentPool" for m in manifests(values))
    assert (f"helm test {RELEASE}" in notes) is has_test


def test_the_pool_in_the_notes_names_the_secret_as_text():
    """The name of a Secret may be digits, and the key may be a word that YAML reads as a boolean."""
    redis = {"existingSecret": "123", "existingSecretKey": "yes"}
    document = sources({"redis": redis})["NOTES.txt"].split("<<EOF\n")[1].split("EOF\n")[0]
    queue = yaml.safe_load(document)["spec"]["queue"]
    assert queue["redis"]["urlFrom"]["secretKeyRef"] == {"name": "123", "key": "yes"}


def test_more_objects_are_templates():
    """Extra objects may be maps or text, and can use the release's values."""
    names = {m["metadata"]["name"] for m in manifests(MATRIX["with-more"]) if m["kind"] == "ConfigMap"}
    assert {"agentpool-more", "as-text"} <= names


def labels_of(found: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the labels of each object and of each pod template, by kind and name."""
    labels = {f"{m['kind']}/{m['metadata']['name']}": m["metadata"].get("labels", {}) for m in found}
    pods = {f"pod of {m['metadata']['name']}": pod_of(m) for m in found if m["kind"] in {"Deployment", "StatefulSet"}}
    return labels | {name: pod["metadata"]["labels"] for name, pod in pods.items() if pod}


def test_labels_of_your_own_replace_all_but_the_required_labels():
    """Selectors and Helm need four labels; of two user labels, the more specific label applies."""
    relied_on = {
        "app.kubernetes.io/name": "agentpool",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/managed-by": "Helm",
    }
    mine = {"app.kubernetes.io/part-of": "platform", "app.kubernetes.io/version": "2024-01-01", "team": "platform"}
    values = {
        "commonLabels": mine | dict.fromkeys((*relied_on, COMPONENT), "mine"),
        "operator": {
            "podLabels": {"team": "operators"},
            "podAnnotations": {"kubectl.kubernetes.io/default-container": "sidecar"},
        },
        "metrics": {
            "prometheusRule": {"enabled": True, "labels": {"app.kubernetes.io/part-of": "kube-prometheus-stack"}}
        },
    }
    found = manifests(values)
    for name, labels in labels_of(found).items():
        assert labels.items() >= (relied_on | {"app.kubernetes.io/version": "2024-01-01"}).items() - (
            {("app.kubernetes.io/managed-by", "Helm")} if name == "pod of agentpool-redis" else set()
        ), name
        assert labels[COMPONENT] != "mine", name
        part = "kube-prometheus-stack" if name.startswith("PrometheusRule") else "platform"
        assert labels["app.kubernetes.io/part-of"] == part, name
        assert labels["team"] == ("operators" if name == "pod of agentpool-operator" else "platform"), name
    pod = only(found, "Deployment", "agentpool-operator")["spec"]["template"]
    assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "sidecar"
    assert pod["metadata"]["annotations"].keys() > {"checksum/roles", "checksum/crd"}


@pytest.mark.parametrize(
    ("ids", "expected"), [({}, {65532, 999}), (None, {None}), (1_000_680_000, {1_000_680_000})], ids=str
)
def test_every_pod_accepts_the_ids_of_the_cluster(ids: object, expected: set[int | None]):
    """OpenShift chooses the ids (null), or gives a range, also for the bundled Redis, whose image has 999."""
    fields = ("runAsUser", "runAsGroup", "fsGroup")
    pod = {} if ids == {} else dict.fromkeys(fields, ids)
    found = manifests({"securityContext": {"pod": pod}, "gateway": {"enabled": True}})
    contexts = [template["spec"]["securityContext"] for m in found if (template := pod_of(m))]
    assert len(contexts) == 5
    assert {context.get(field) for context in contexts for field in fields} == expected
    assert all(context["runAsNonRoot"] for context in contexts)


@pytest.mark.parametrize(("enabled", "installed"), [(True, True), (False, False), (None, True)])
def test_the_chart_can_be_a_subchart(tmp_path: Path, enabled: bool | None, installed: bool):  # noqa: FBT001
    """The condition `agentpool.enabled` enables the subchart, and the outer chart's `global` values are accepted."""
    outer = tmp_path / "platform"
    shutil.copytree(CHART, outer / "charts/agentpool")
    dependency = {"name": "agentpool", "version": ">=0.0.0-0", "repository": "", "condition": "agentpool.enabled"}
    (outer / "Chart.yaml").write_text(
        yaml.safe_dump({"apiVersion": "v2", "name": "platform", "version": "0.1.0", "dependencies": [dependency]})
    )
    values = {"global": {"imageRegistry": "registry.example.com"}}
    values |= {} if enabled is None else {"agentpool": {"enabled": enabled}}
    rendered = helm_python.Chart.load(outer).render(values, name=RELEASE, namespace=NAMESPACE)
    assert any("operator/deployment" in name for name in rendered) is installed


def test_a_gateway_without_reviews_in_named_namespaces_has_no_cluster_role():
    """The gateway reads pools by roles in those namespaces, so a cluster role would have no rule."""
    way = MATRIX["gateway-with-tokens"] | {"watchNamespaces": ["agents"]}
    clusterwide = [m["metadata"]["name"] for m in manifests(way) if m["kind"] == "ClusterRole"]
    assert not [name for name in clusterwide if name.endswith("-gateway")]


def test_a_stopping_gateway_has_enough_time():
    """The gateway stops after its removal from the Service, then drains, then ends the open requests."""
    found = manifests({"gateway": {"enabled": True, "preStopSeconds": 7, "drainSeconds": 8}})
    pod = only(found, "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "7"]}}}
    assert "--drain=8" in container["args"]
    at_once = manifests({"gateway": {"enabled": True, "preStopSeconds": 0, "drainSeconds": 0}})
    (container,) = only(at_once, "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]["containers"]
    assert "lifecycle" not in container
    with pytest.raises(HelmRenderError, match="terminationGracePeriodSeconds: 30 is too short"):
        manifests({"gateway": {"enabled": True, "drainSeconds": 16}})


def test_the_card_key_and_the_dashboard_are_flags_of_the_gateway():
    """The key is a file of the named Secret; without values there is neither."""
    values = {"a2a": {"cardKeySecret": "card", "cardKeyKey": "p256.pem"}, "grafanaUrl": "https://g.example.org/d/pools"}
    found = manifests({"gateway": {"enabled": True, **values}})
    pod = only(found, "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"--a2a-card-key=/etc/agentpool/a2a/p256.pem", "--grafana-url=https://g.example.org/d/pools"} <= {
        *container["args"]
    }
    assert {"name": "card-key", "mountPath": "/etc/agentpool/a2a", "readOnly": True} in container["volumeMounts"]
    assert {"name": "card-key", "secret": {"secretName": "card"}} in pod["volumes"]
    plain = only(manifests(MATRIX["gateway"]), "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]
    assert not [arg for arg in plain["containers"][0]["args"] if "card" in arg or "grafana" in arg]


def test_the_external_url_and_the_proxies_are_flags_of_the_gateway():
    """The values become flags; without values no flag is set."""
    from agentpool_gateway.addresses import ExternalUrl, TrustedProxies

    values = {"externalUrl": "https://agents.example.org/pools", "trustedProxies": ["10.0.0.0/8", "fd00::/8"]}
    found = manifests({"gateway": {"enabled": True, **values}})
    (container,) = only(found, "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]["containers"]
    told = [arg.partition("=") for arg in container["args"]]
    TrustedProxies([value for name, _, value in told if name == "--trusted-proxies"])
    (url,) = (value for name, _, value in told if name == "--external-url")
    assert ExternalUrl.parse(url).path == "/pools"
    (plain,) = only(manifests(MATRIX["gateway"]), "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"][
        "containers"
    ]
    assert not [arg for arg in plain["args"] if "external" in arg or "proxies" in arg]


def test_gateway_and_operator_listen_on_all_addresses_of_a_pod():
    """The servers also listen on IPv6-only addresses, and on the loopback address of `kubectl port-forward`."""
    from agentpool_operator.settings import OperatorSettings

    found = manifests(MATRIX["gateway"])
    pod = only(found, "Deployment", f"{RELEASE}-gateway")["spec"]["template"]["spec"]
    assert "--host=::" in pod["containers"][0]["args"]
    assert OperatorSettings().health_host == "::"  # the chart sets no secret


def test_pull_secrets_reach_the_workers():
    """The operator sets the secrets in the worker pods."""
    found = manifests({"imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}]})
    args = only(found, "Deployment", "agentpool-operator")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [arg for arg in args if "pull" in arg] == ["--image-pull-secret=registry", "--image-pull-secret=mirror"]
