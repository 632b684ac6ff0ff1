"""Manifests of a pool's children: a Deployment of workers, and a PodDisruptionBudget.

Pure: an AgentPool in, plain objects out, without `replicas`, which belong to the scaling loop. The user's pod template
is the base; the fields that the worker needs to find its pool and to stop gently are laid over it. `applier` takes over
next.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from agentpool_core.environment import PASSWORD_VARIABLE
from agentpool_core.spec import API_VERSION, KIND
from agentpool_operator.pools.views import POOL_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import PoolRef
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_core.spec.queue import SecretKeyRef
    from agentpool_core.spec.scaling import Gpu

Json = dict[str, Any]
CONTAINER = "worker"
DEVICES = "agentpool-devices"  # the claim of a worker's devices
TEMPORARY = "agentpool-tmp"  # the volume of the worker's temporary directory
PORT = "PORT"  # the variable of the HTTP handler's port, by the convention of Knative
HANDLER_PORT = "AGENTPOOL_HANDLER_PORT"
HTTP_PORT = 8080  # serves /healthz, /readyz and /metrics; bound to the pod's own address
FIRST_LOOK_SECONDS = 2  # earlier probes fail, before the worker listens; the kubelet may count one second less
LIVENESS_GRACE_SECONDS = 10  # a worker with a failed liveness probe cannot drain, and the jobs wait meanwhile
START_WITHIN_SECONDS = 600  # for importing handlers before a worker counts as hung
STARTUP_TIMEOUT_SECONDS = 60  # the worker listens at once and answers when ready: a slow import is no failed probe
READY_PATH = "/readyz?draining=ready"  # an ending pod stays ready: each failed probe is a warning
GRACE_BEYOND_DRAIN_SECONDS = 15  # time to requeue jobs after the drain
DIGEST = "agentpool.dev/manifest-digest"
OPERATOR = "agentpool.dev/operator"  # annotation: namespace and name of the Lease of the operator that serves the pool
REDIS_CHECKSUM = "agentpool.dev/redis-checksum"  # annotation of the pods: changes with the used values of the Secret
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # of the default image's container, by the Pod Security Standard "restricted"
MANAGED_BY = "app.kubernetes.io/managed-by"


def selector_of(pool: PoolRef) -> str:
    """Return the label selector of a pool's pods, as a string."""
    return f"{POOL_LABEL}={pool.name}"


def deployment(
    pool: PoolRef,
    uid: str,
    spec: AgentPoolSpec,
    *,
    default_image: str,
    image_pull_secrets: Sequence[str] = (),
    redis_checksum: str = "",
) -> Json:
    """Return the Deployment of the pool's workers."""
    body: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pool, uid),
        "spec": {
            "selector": {"matchLabels": {POOL_LABEL: pool.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _rollout(spec)},
            "template": _pod_template(pool, spec, default_image, redis_checksum),
        },
    }
    pod = body["spec"]["template"]["spec"]
    if image_pull_secrets:
        pod.setdefault("imagePullSecrets", [{"name": name} for name in image_pull_secrets])
    body["metadata"]["annotations"] = {DIGEST: digest(body)}
    return body


def disruption_budget(pool: PoolRef, uid: str) -> Json:
    """Return a budget under which a node's drain evicts the pool's ready workers in sequence."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(pool, uid),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {POOL_LABEL: pool.name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def digest(body: Json) -> str:
    """Return a short digest of an object: equal exactly when the objects are."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def labels_of(pool: PoolRef) -> dict[str, str]:
    """Return the labels of everything that belongs to a pool."""
    return {
        "app.kubernetes.io/name": "agentpool-worker",
        "app.kubernetes.io/instance": pool.name,
        MANAGED_BY: "agentpool",
        POOL_LABEL: pool.name,
    }


def marks_of(pool: PoolRef) -> dict[str, str]:
    """Return the labels that identify a child of a pool after the loss of the owner."""
    labels = labels_of(pool)
    return {key: labels[key] for key in (POOL_LABEL, MANAGED_BY)}


def _metadata(pool: PoolRef, uid: str) -> Json:
    return {
        "name": pool.name,
        "namespace": pool.namespace,
        "labels": labels_of(pool),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.name,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _rollout(spec: AgentPoolSpec) -> Json:
    """Return the rollout strategy: new workers first; for scarce devices, the old worker leaves first."""
    if spec.gpu is not None:
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": "25%", "maxUnavailable": 0}


def redis_checksum_of(template: Json) -> str:
    """Return the checksum in a live pod template; empty = none."""
    return str(((template.get("metadata") or {}).get("annotations") or {}).get(REDIS_CHECKSUM, ""))


def _pod_template(pool: PoolRef, spec: AgentPoolSpec, default_image: str, redis_checksum: str) -> Json:
    template = copy.deepcopy(spec.worker.template)
    metadata = template.setdefault("metadata", {})
    if redis_checksum:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), REDIS_CHECKSUM: redis_checksum}
    metadata["labels"] = {**metadata.get("labels", {}), **labels_of(pool)}
    pod = template.setdefault("spec", {})
    containers = pod.setdefault("containers", [])
    worker = next((c for c in containers if c.get("name") == CONTAINER), None)
    if worker is None:
        worker = {"name": CONTAINER}
        containers.insert(0, worker)
    hooked = [beside for beside in containers if beside is not worker and not _has_own_hook(beside)]
    _complete(worker, pool, spec, default_image)
    _name_port(_http_servers(containers, worker, spec), spec)
    if hooked:
        worker["env"].append({"name": "AGENTPOOL_NEIGHBOURS", "value": str(len(hooked))})
    if spec.gpu is not None:
        _request_devices(pod, _device_container(containers, worker, spec, spec.gpu), spec.gpu)
    _give_temporary_directory(worker, pod)
    pod.setdefault("automountServiceAccountToken", False)  # a worker asks Kubernetes for nothing, a job must not
    for beside in hooked:
        beside.setdefault("lifecycle", {})["preStop"] = _until_drained()
    for container in (*containers, *pod.get("initContainers", ())):
        container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")  # shows the cause of a crash
    pod["terminationGracePeriodSeconds"] = spec.worker.drain_seconds + GRACE_BEYOND_DRAIN_SECONDS
    return template


def _complete(worker: Json, pool: PoolRef, spec: AgentPoolSpec, default_image: str) -> None:
    """Complete a container as the pool's worker; the user's own settings stay."""
    if "image" not in worker:  # an image of the user's own may need more
        worker["securityContext"] = {**RESTRICTED, **(worker.get("securityContext") or {})}
    worker.setdefault("image", default_image)
    worker.setdefault("command", ["agentpool", "worker"])
    own = _environment(pool, spec)
    named = {variable["name"] for variable in own}
    worker["env"] = [*own, *(v for v in worker.get("env", []) if v["name"] not in named)]
    ports = worker.setdefault("ports", [])
    if not any(port.get("name") == "http" for port in ports):
        ports.append({"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"})
    if "livenessProbe" not in worker:  # a probe of the user's own allows for the start
        first_look = {"initialDelaySeconds": FIRST_LOOK_SECONDS}
        startup = _probe("/healthz", period_s=1, failures=START_WITHIN_SECONDS) | {
            "timeoutSeconds": STARTUP_TIMEOUT_SECONDS
        }
        worker.setdefault("startupProbe", startup | first_look)
    alive = {"terminationGracePeriodSeconds": LIVENESS_GRACE_SECONDS}
    worker.setdefault("livenessProbe", _probe("/healthz", period_s=10, failures=6) | alive)
    worker.setdefault("readinessProbe", _probe(READY_PATH, period_s=2, failures=3))


def _device_container(containers: list[Json], worker: Json, spec: AgentPoolSpec, gpu: Gpu) -> Json:
    """Return the container that gets the devices: a single container, so a worker's devices count once."""
    named = [c for c in containers if c.get("name") == gpu.container]
    stating = [c for c in containers if _names_resource(c, gpu.resource_name)]
    return next(iter((*named, *stating, *_http_servers(containers, worker, spec))), worker)


def _http_servers(containers: list[Json], worker: Json, spec: AgentPoolSpec) -> list[Json]:
    """Return the containers that may serve the HTTP handler, first those with the port; empty = a different handler."""
    if spec.handler.http is None:
        return []
    port = spec.handler.http.port
    beside = [container for container in containers if container is not worker]
    return sorted(beside, key=lambda c: all(p.get("containerPort") != port for p in c.get("ports") or []))


def _name_port(servers: list[Json], spec: AgentPoolSpec) -> None:
    """Name the handler's port in `PORT` of its container, unless the container has the variable or is not evident."""
    if spec.handler.http is None or not servers:
        return
    server, port = servers[0], spec.handler.http.port
    evident = len(servers) == 1 or any(p.get("containerPort") == port for p in server.get("ports") or [])
    variables = server.get("env") or []
    if evident and all(variable.get("name") != PORT for variable in variables):
        server["env"] = [{"name": PORT, "value": str(port)}, *variables]


def _names_resource(container: Json, name: str) -> bool:
    resources = container.get("resources") or {}
    return any(name in (resources.get(part) or {}) for part in ("limits", "requests"))


def _request_devices(pod: Json, container: Json, gpu: Gpu) -> None:
    resources = container.setdefault("resources", {})
    if gpu.resource_claim_template_name is not None:
        pod.setdefault("resourceClaims", []).append(
            {"name": DEVICES, "resourceClaimTemplateName": gpu.resource_claim_template_name}
        )
        resources.setdefault("claims", []).append({"name": DEVICES})
        return
    for part in ("limits", "requests"):
        resources.setdefault(part, {})[gpu.resource_name] = str(gpu.per_worker)


def _give_temporary_directory(worker: Json, pod: Json) -> None:
    """Mount a writable directory for temporary files, unless the root file system or a mount is writable there."""
    if not (worker.get("securityContext") or {}).get("readOnlyRootFilesystem"):
        return
    values = {variable["name"]: variable.get("value") for variable in worker["env"]}
    path = PurePosixPath(values.get("TMPDIR") or "/tmp")  # noqa: S108 - the containers' default
    mounts = worker.setdefault("volumeMounts", [])
    if any(PurePosixPath(mount.get("mountPath") or "/") in (path, *path.parents) for mount in mounts):
        return
    volumes = pod.setdefault("volumes", [])
    if not any(volume.get("name") == TEMPORARY for volume in volumes):
        volumes.append({"name": TEMPORARY, "emptyDir": {}})
    mounts.append({"name": TEMPORARY, "mountPath": str(path)})


def _probe(path: str, *, period_s: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _has_own_hook(container: Json) -> bool:
    return "preStop" in container.get("lifecycle", {})


def _until_drained() -> Json:
    """Return the preStop hook for containers beside the worker: all get SIGTERM at once, but running jobs need them."""
    return {"httpGet": {"path": "/drained", "port": HTTP_PORT}}


def _environment(pool: PoolRef, spec: AgentPoolSpec) -> list[Json]:
    """Return the environment of the worker; changeable settings come from the queue."""
    handler = spec.handler.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [
        *_handler_port(spec),
        {"name": "AGENTPOOL_NAMESPACE", "value": pool.namespace},
        {"name": "AGENTPOOL_POOL", "value": pool.name},
        *_redis(spec),
        {"name": "AGENTPOOL_WORKER", "valueFrom": _field("metadata.name")},
        {"name": "AGENTPOOL_HANDLER", "value": json.dumps(handler, sort_keys=True)},
        {"name": "AGENTPOOL_HTTP_HOST", "valueFrom": _field("status.podIP")},
        {"name": "AGENTPOOL_HTTP_PORT", "value": str(HTTP_PORT)},
    ]


def _handler_port(spec: AgentPoolSpec) -> list[Json]:
    """Return the variable for the HTTP handler's port, which a cluster without networks of pods may change."""
    if spec.handler.http is None:
        return []
    return [{"name": PORT, "value": str(spec.handler.http.port)}, {"name": HANDLER_PORT, "value": f"$({PORT})"}]


def _field(path: str) -> Json:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def _redis(spec: AgentPoolSpec) -> list[Json]:
    """Return the variables for Redis; the kubelet reads Secrets, so the Deployment contains no secret value."""
    redis = spec.queue.redis
    if redis.url_from is not None:
        return [_from_secret("AGENTPOOL_REDIS_URL", redis.url_from.secret_key_ref)]
    url: Json = {"name": "AGENTPOOL_REDIS_URL", "value": redis.url or ""}
    if redis.password_from is None:
        return [url]
    return [url, _from_secret(PASSWORD_VARIABLE, redis.password_from.secret_key_ref)]


def _from_secret(variable: str, reference: SecretKeyRef) -> Json:
    source = {"name": reference.name, "key": reference.key}
    return {"name": variable, "valueFrom": {"secretKeyRef": source}}
