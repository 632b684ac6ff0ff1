"""The children of a pool: the worker's settings, and the kept parts of a user's template."""

from __future__ import annotations

import json
import re

import pytest

from agentpool_core.errors import SpecError
from agentpool_core.jobs import PoolRef
from agentpool_core.spec import AgentPoolSpec
from agentpool_operator.children import manifests
from agentpool_operator.children.drift import differences
from agentpool_operator.pools.field_managers import appliers_of_replicas, changes_of_others
from agentpool_operator.pools.parsing import spec_of

POOL = PoolRef("research", "analysts")
SPEC = {
    "handler": {"python": {"app": "repo_analyst:app"}},
    "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}}},
}


def made(**spec):
    return manifests.deployment(POOL, "u-1", AgentPoolSpec.model_validate({**SPEC, **spec}), default_image="img")


def worker_of(deployment):
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(c for c in containers if c["name"] == "worker")


def env_of(deployment):
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in worker_of(deployment)["env"]}


def test_the_worker_gets_its_pool_its_queue_and_its_handler():
    """The environment names pool, queue, worker, handler and address."""
    env = env_of(made())
    assert env["AGENTPOOL_NAMESPACE"] == "research"
    assert env["AGENTPOOL_POOL"] == "analysts"
    assert env["AGENTPOOL_REDIS_URL"] == {"secretKeyRef": {"name": "redis", "key": "url"}}
    assert env["AGENTPOOL_WORKER"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert json.loads(env["AGENTPOOL_HANDLER"]) == {"python": {"app": "repo_analyst:app"}}
    assert env["AGENTPOOL_HTTP_HOST"]["fieldRef"]["fieldPath"] == "status.podIP"


def test_a_worker_that_fails_leaves_the_end_of_its_log():
    """The kubelet keeps the last lines as the termination message, unless the template has a different policy."""
    assert worker_of(made())["terminationMessagePolicy"] == "FallbackToLogsOnError"
    own = {"spec": {"containers": [{"name": "worker", "terminationMessagePolicy": "File"}]}}
    assert worker_of(made(worker={"template": own}))["terminationMessagePolicy"] == "File"


def test_containers_beside_the_worker_leave_the_end_of_their_logs_too():
    """A failing sidecar keeps the worker from starting, and the pool's condition repeats the sidecar's last line."""
    template = {"spec": {"initContainers": [{"name": "prepare"}], "containers": [{"name": "beside"}]}}
    pod = made(worker={"template": template})["spec"]["template"]["spec"]
    policies = {c["name"]: c["terminationMessagePolicy"] for c in (*pod["initContainers"], *pod["containers"])}
    assert policies == dict.fromkeys(("prepare", "beside", "worker"), "FallbackToLogsOnError")


def test_replicas_are_left_to_the_scaling_loop():
    """The manifest names no replicas."""
    assert "replicas" not in made()["spec"]


def test_the_grace_period_outlasts_the_drain():
    """A pod's grace period is fifteen seconds longer than the drain."""
    pod = made(worker={"drainSeconds": 40})["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 55


def test_a_users_template_is_kept_and_completed():
    """Image, resources, sidecars and own variables stay; ours win where they meet."""
    template = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [
                {"name": "model", "image": "llm"},
                {
                    "name": "worker",
                    "image": "mine",
                    "env": [{"name": "A", "value": "1"}, {"name": "AGENTPOOL_POOL", "value": "x"}],
                },
            ],
        },
    }
    deployment = made(worker={"template": template})
    pod = deployment["spec"]["template"]
    assert [c["name"] for c in pod["spec"]["containers"]] == ["model", "worker"]
    assert worker_of(deployment)["image"] == "mine"
    assert env_of(deployment)["A"] == "1"
    assert env_of(deployment)["AGENTPOOL_POOL"] == "analysts"
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}


def test_a_dead_worker_gets_no_time_to_drain():
    """The grace of the drain is for live workers; a worker with a failed liveness probe ends soon."""
    probe = worker_of(made(worker={"drainSeconds": 300}))["livenessProbe"]
    assert probe["terminationGracePeriodSeconds"] == 10


def test_a_slow_start_is_no_reason_to_restart():
    """A worker has ten minutes to start, looked at every second; a user's own liveness probe goes without.

    The first probe comes after a second at least: the kubelet counts from the start's whole second, and a probe before
    the worker listens would warn of each start.
    """
    probe = worker_of(made())["startupProbe"]
    assert (probe["periodSeconds"] * probe["failureThreshold"], probe["periodSeconds"]) == (600, 1)
    assert probe["initialDelaySeconds"] == 2
    assert probe["timeoutSeconds"] == 60  # the worker listens long before the first answer
    own = {"name": "worker", "livenessProbe": {"exec": {"command": ["true"]}}}
    assert "startupProbe" not in worker_of(made(worker={"template": {"spec": {"containers": [own]}}}))


def test_containers_beside_the_worker_outlive_its_jobs():
    """Sidecars wait until the worker has drained, unless the template has a hook; the worker needs no hook."""
    own = {"name": "own", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}
    template = {"spec": {"containers": [{"name": "agent"}, {"name": "worker"}, own]}}
    agent, worker, own_made = made(worker={"template": template})["spec"]["template"]["spec"]["containers"]
    assert agent["lifecycle"] == {"preStop": {"httpGet": {"path": "/drained", "port": 8080}}}
    assert "lifecycle" not in worker
    reported = [variable["value"] for variable in worker["env"] if variable["name"] == "AGENTPOOL_NEIGHBOURS"]
    assert reported == ["1"]  # the worker's end waits for the request of the hook
    assert own_made["lifecycle"] == own["lifecycle"]


def test_a_worker_gets_no_token_of_its_service_account():
    """A job could read the token; a template can request the token."""
    assert made()["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    asked = made(worker={"template": {"spec": {"automountServiceAccountToken": True}}})
    assert asked["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


READ_ONLY = {"name": "worker", "securityContext": {"readOnlyRootFilesystem": True}}


@pytest.mark.parametrize(
    ("container", "mounted"),
    [
        ({"name": "worker"}, None),  # with a writable root
        (READ_ONLY, "/tmp"),
        (READ_ONLY | {"env": [{"name": "TMPDIR", "value": "/scratch/a"}]}, "/scratch/a"),
        (READ_ONLY | {"env": [{"name": "TMPDIR", "valueFrom": {}}]}, "/tmp"),
        (READ_ONLY | {"volumeMounts": [{"name": "mine", "mountPath": "/tmp/"}]}, None),
        (READ_ONLY | {"volumeMounts": [{"name": "mine", "mountPath": "/tmpfoo"}]}, "/tmp"),
        (
            READ_ONLY
            | {
                "env": [{"name": "TMPDIR", "value": "/scratch/a"}],
                "volumeMounts": [{"name": "mine", "mountPath": "/scratch"}],
            },
            None,
        ),
    ],
)
def test_a_worker_with_a_read_only_root_gets_a_temporary_directory(container, mounted):
    """An emptyDir at the temporary directory, unless something is mounted there already."""
    pod = made(worker={"template": {"spec": {"containers": [container]}}})["spec"]["template"]["spec"]
    ours = [m["mountPath"] for m in pod["containers"][0].get("volumeMounts", ()) if m["name"] == manifests.TEMPORARY]
    assert ours == ([mounted] if mounted else [])
    assert [v for v in pod.get("volumes", ()) if v["name"] == manifests.TEMPORARY] == (
        [{"name": manifests.TEMPORARY, "emptyDir": {}}] if mounted else []
    )


def test_gpus_are_requested_and_rolled_out_without_surge():
    """A GPU pool's worker requests its devices, and a rollout never waits for a device of the same worker."""
    deployment = made(gpu={"perWorker": 2})
    assert worker_of(deployment)["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_equal_specs_have_equal_digests():
    """The digest changes exactly with the manifest."""

    def digest(deployment):
        return deployment["metadata"]["annotations"][manifests.DIGEST]

    assert digest(made()) == digest(made())
    assert digest(made()) != digest(made(worker={"drainSeconds": 1}))
    assert digest(made()) == digest(made(scaling={"maxReplicas": 3}))


@pytest.mark.parametrize(
    ("wanted", "live", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 2}, [".a"]),
        ({"cpu": "0.5"}, {"cpu": "500m"}, []),
        ({"m": "1Gi"}, {"m": "1024Mi"}, []),
        ({"m": "1Gi"}, {"m": "1G"}, [".m"]),
        ({"c": [{"name": "w", "x": 1}]}, {"c": [{"name": "i"}, {"name": "w", "x": 1}]}, []),
        ({"c": [{"name": "w", "x": 1}]}, {"c": [{"name": "i"}]}, [".c[w]"]),
        ({"c": ["a", "b"]}, {"c": ["a"]}, [".c"]),
        ({"e": {}}, {}, []),
        ({"n": 0}, {}, []),
    ],
)
def test_drift_is_a_contradiction_and_no_addition(wanted, live, found):
    """Defaults and foreign fields are no drift; quantities count by value."""
    assert differences(wanted, live) == found


def test_replicas_are_handed_over_only_where_we_own_them_by_apply():
    """Ownership by apply is seen in the managed fields."""
    entry = {"manager": "agentpool", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert appliers_of_replicas({"metadata": {"managedFields": [entry]}}) == {"agentpool"}
    assert not appliers_of_replicas({"metadata": {"managedFields": [{**entry, "operation": "Update"}]}})
    assert not appliers_of_replicas({"metadata": {}})


def test_fields_of_a_foreign_manager_are_named():
    """A foreign size, pause or restart is allowed, and so are writes of the operator and of a controller."""
    env = {'k:{"name":"worker"}': {"f:env": {'k:{"name":"X"}': {".": {}, "f:name": {}, "f:value": {}}}}}
    pod = {
        "f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}},
        "f:spec": {"f:containers": env},
    }
    spec = {"f:replicas": {}, "f:paused": {}, "f:minReadySeconds": {}, "f:template": pod}
    theirs = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": spec}}
    ours = {**theirs, "manager": "agentpool"}
    scaled = {**theirs, "subresource": "scale"}
    assert changes_of_others({"metadata": {"managedFields": [ours, scaled]}}) == ""
    assert changes_of_others({"metadata": {"managedFields": [ours, theirs]}}) == (
        "minReadySeconds (kubectl-edit), template.spec.containers[worker].env[X] (kubectl-edit)"
    )


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ({"spec": {"containers": 1}}, "spec.containers"),
        ({"spec": {"containers": [1]}}, "spec.containers.0"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers.0.name"),
        ({"spec": {"containers": [{"name": "worker", "env": {"A": "1"}}]}}, "spec.containers.0.env"),
        ({"spec": {"containers": [{"name": "worker", "env": [{"value": "1"}]}]}}, "spec.containers.0.env.0.name"),
        ({"spec": {"containers": [{"name": "worker", "resources": {"limits": []}}]}}, "resources.limits"),
        ({"spec": "x"}, "spec"),
        ({"metadata": {"labels": ["a"]}}, "metadata.labels"),
    ],
)
def test_a_shapeless_template_is_refused_by_name(template, named):
    """Fields that Kubernetes' schema leaves open are checked before use: the pool's condition names the field."""
    with pytest.raises(SpecError, match=rf"spec\.worker\.template.*{re.escape(named)} "):
        spec_of({"spec": {**SPEC, "worker": {"template": template}}})


def test_nulls_in_a_template_mean_absence():
    """The API server has the same rule."""
    empty = {
        "metadata": None,
        "spec": {"containers": [{"name": "worker", "env": None, "image": None}], "volumes": None},
    }
    worker = worker_of(made(worker={"template": empty}))
    assert worker["image"] == "img"


def devices_of(deployment):
    containers = deployment["spec"]["template"]["spec"]["containers"]
    found = {c["name"]: (c.get("resources") or {}).get("limits", {}).get("nvidia.com/gpu") for c in containers}
    return {name: amount for name, amount in found.items() if amount}


HTTP = {"http": {"port": 9000}}
MODEL, EXPORTER = {"name": "model", "ports": [{"containerPort": 9000}]}, {"name": "exporter"}
STATED = {"name": "exporter", "resources": {"limits": {"nvidia.com/gpu": "1"}}}


def port_of(container):
    return {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}.get("PORT")


@pytest.mark.parametrize(
    ("containers", "ports"),
    [
        ([EXPORTER], {"exporter": "9000"}),
        ([EXPORTER, MODEL], {"exporter": None, "model": "9000"}),
        ([EXPORTER, {"name": "second"}], {"exporter": None, "second": None}),
        ([{**MODEL, "env": [{"name": "PORT", "value": "1"}]}], {"model": "1"}),
    ],
)
def test_the_container_of_an_http_handler_learns_its_port(containers, ports):
    """The container that evidently serves gets `PORT`, as does the worker, which connects to that port."""
    deployment = made(handler=HTTP, worker={"template": {"spec": {"containers": containers}}})
    made_of = {each["name"]: port_of(each) for each in deployment["spec"]["template"]["spec"]["containers"]}
    assert made_of == {"worker": "9000", **ports}
    assert env_of(deployment)["AGENTPOOL_HANDLER_PORT"] == "$(PORT)"
    assert "PORT" not in env_of(made())


@pytest.mark.parametrize(
    ("handler", "containers", "gpu", "holder"),
    [
        (SPEC["handler"], [EXPORTER], {}, "worker"),
        (HTTP, [], {}, "worker"),
        (HTTP, [EXPORTER], {}, "exporter"),
        (HTTP, [EXPORTER, MODEL], {}, "model"),
        (HTTP, [MODEL, STATED], {}, "exporter"),
        (HTTP, [EXPORTER, MODEL], {"container": "exporter"}, "exporter"),
        (HTTP, [MODEL], {"container": "worker"}, "worker"),
    ],
)
def test_a_single_container_of_a_worker_gets_the_devices(handler, containers, gpu, holder):
    """The handler's container gets the devices, unless the template or the pool names a different container."""
    deployment = made(
        handler=handler, gpu={"perWorker": 2, **gpu}, worker={"template": {"spec": {"containers": containers}}}
    )
    assert devices_of(deployment) == {holder: "2"}


def test_a_worker_claims_the_devices_of_a_template():
    """In place of an extended resource, beside the claims that the pod template states itself."""
    stated = {"resourceClaims": [{"name": "nic", "resourceClaimName": "shared"}], "containers": [{"name": "worker"}]}
    made_of = made(gpu={"resourceClaimTemplateName": "h100"}, worker={"template": {"spec": stated}})
    claims = [*stated["resourceClaims"], {"name": manifests.DEVICES, "resourceClaimTemplateName": "h100"}]
    assert made_of["spec"]["template"]["spec"]["resourceClaims"] == claims
    assert worker_of(made_of)["resources"] == {"claims": [{"name": manifests.DEVICES}]}


def test_a_device_container_that_the_template_lacks_is_refused():
    """The schema cannot follow the name into the open template, so the operator does."""
    with pytest.raises(SpecError, match=r"spec\.gpu\.container.*'model'"):
        spec_of({"spec": {**SPEC, "gpu": {"container": "model"}}})


def test_a_worker_of_the_default_image_satisfies_the_restricted_standard():
    """User settings stay, and so does a user's image."""
    assert worker_of(made())["securityContext"] == manifests.RESTRICTED
    own = {"name": "worker", "securityContext": {"runAsNonRoot": False}}
    kept = worker_of(made(worker={"template": {"spec": {"containers": [own]}}}))["securityContext"]
    assert kept == manifests.RESTRICTED | {"runAsNonRoot": False}
    imaged = {"name": "worker", "image": "mine"}
    assert "securityContext" not in worker_of(made(worker={"template": {"spec": {"containers": [imaged]}}}))


def test_pull_secrets_of_the_installation_reach_the_workers():
    """A template with pull secrets keeps those."""

    def pod(**template):
        spec = AgentPoolSpec.model_validate({**SPEC, "worker": {"template": {"spec": template}}})
        made = manifests.deployment(POOL, "u", spec, default_image="img", image_pull_secrets=("registry",))
        return made["spec"]["template"]["spec"]

    assert pod()["imagePullSecrets"] == [{"name": "registry"}]
    assert pod(imagePullSecrets=[{"name": "own"}])["imagePullSecrets"] == [{"name": "own"}]
