"""Checks of the cluster: API reachable, CRD current, AgentPools that are not Ready, GPUs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from agentpool_core.doctor.findings import Finding, failure, failure_of, fine, note, warning
from agentpool_core.errors import AgentPoolError, ClusterError
from agentpool_core.kube import paths
from agentpool_core.kube.connection import open_cluster
from agentpool_core.kube.errors import NotThereError

if TYPE_CHECKING:
    from agentpool_core.kube.client import Cluster, Object

CRD_PATH = paths.definition("agentpools.agentpool.dev")
UPDATE_CRD = "agentpool crd | kubectl apply --server-side -f -"


async def examine() -> AsyncIterator[Finding]:
    """Yield all findings about the cluster of the kubeconfig."""
    try:
        async with open_cluster() as cluster:
            version = await cluster.get("/version")
            yield fine("kubernetes", str(version.get("gitVersion", "answers")))
            for look in (crd, agentpools, gpus):
                try:
                    for finding in await look(cluster):
                        yield finding
                except ClusterError as error:
                    yield note(look.__name__, error.detail, "use a kubeconfig with read permission")
    except AgentPoolError as error:
        yield failure_of("kubernetes", error)


async def crd(cluster: Cluster) -> list[Finding]:
    """Check that the CRD of this version is installed."""
    from agentpool_core.spec.crd import custom_resource_definition

    try:
        found = await cluster.get(CRD_PATH)
    except NotThereError:
        return [failure("crd", "AgentPool is not installed", UPDATE_CRD)]
    return [crd_finding(found, custom_resource_definition())]


def crd_finding(found: Object, ours: Object) -> Finding:
    """Compare the installed CRD with this version's, by the fields of each version's spec."""
    there, here = _fields_by_version(found), _fields_by_version(ours)
    missing = [
        f"{version} lacks {', '.join(sorted(lacking))}"
        for version, fields in here.items()
        if (lacking := fields - there.get(version, set()))
    ]
    if missing:
        return warning("crd", f"older than this command: {'; '.join(missing)[:200]}", UPDATE_CRD)
    return fine("crd", f"serves {', '.join(there)}")


async def agentpools(cluster: Cluster) -> list[Finding]:
    """Return the number of AgentPools, and each AgentPool that is not Ready with its reason."""
    from agentpool_core.spec import ON_ITS_WAY

    pools = await cluster.agentpools()
    findings = [fine("agentpools", str(len(pools)))]
    for pool in pools:
        name = f"{pool['metadata']['namespace']}/{pool['metadata']['name']}"
        ready = next((c for c in pool.get("status", {}).get("conditions", []) if c["type"] == "Ready"), None)
        if ready is None:
            remedy = "start the operator (helm or agentpool dev), or let it serve this namespace (watchNamespaces)"
            findings.append(warning(f"agentpool {name}", "no status yet", remedy))
        elif ready["status"] != "True":
            make = warning if ready["reason"] in ON_ITS_WAY else failure
            reason = f"{ready['reason']}: {ready['message']}"
            findings.append(make(f"agentpool {name}", reason, f"kubectl describe ap -n {name.replace('/', ' ')}"))
    return findings


async def gpus(cluster: Cluster) -> list[Finding]:
    """Check the GPUs of the nodes."""
    nodes = await cluster.get(paths.nodes())
    return [gpu_finding(nodes.get("items", []))]


def gpu_finding(nodes: Sequence[Object]) -> Finding:
    """Return the allocatable GPUs by resource name and node; cordoned nodes are marked."""
    found = []
    for node in nodes:
        amounts: dict[str, Any] = (node.get("status") or {}).get("allocatable") or {}
        devices = [f"{count} {name}" for name, count in amounts.items() if _is_gpu(name) and str(count) != "0"]
        if devices:
            cordoned = " (cordoned)" if (node.get("spec") or {}).get("unschedulable") else ""
            found.append(f"{node['metadata']['name']}: {', '.join(devices)}{cordoned}")
    if not found:
        return note("gpus", "no node has GPUs", "if pools need GPUs, install the vendor's device plugin")
    return fine("gpus", "; ".join(found))


def _is_gpu(resource: str) -> bool:
    """Return whether an extended resource stands for GPUs or slices of them."""
    return "/" in resource and any(word in resource for word in ("gpu", "mig-", "/neuron", "/tpu"))


def _fields_by_version(crd_object: Object) -> dict[str, set[str]]:
    """Return the paths of the spec's fields for each served version."""
    return {
        version["name"]: set(_paths(version["schema"]["openAPIV3Schema"]["properties"].get("spec", {}), "spec"))
        for version in crd_object["spec"]["versions"]
        if version.get("served")
    }


def _paths(schema: Object, at: str) -> list[str]:
    found: list[str] = []
    for name, part in (schema.get("properties") or {}).items():
        found += [f"{at}.{name}", *_paths(part, f"{at}.{name}")]
    if isinstance(schema.get("items"), dict):
        found += _paths(schema["items"], f"{at}[]")
    return found
