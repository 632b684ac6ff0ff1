"""Pod logs, fetched from the pod's node exactly as a real API server asks a kubelet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import aiohttp
from aiohttp import web

from agentpool_devcluster.api.errors import Subject, bad_request, not_found, unavailable
from agentpool_devcluster.api.objects import Json, dig
from agentpool_devcluster.api.operations.cluster import Cluster
from agentpool_devcluster.api.store import CollectionKey, ObjectKey

_NODES = CollectionKey("", "nodes")
_PODS = CollectionKey("", "pods")
_PASSED_ON = ("follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes", "previous", "stream")
_CONNECT_SECONDS = 5.0


def log_url(cluster: Cluster, namespace: str, name: str, query: Mapping[str, str]) -> str:
    """Return where the log of a pod's container is served. Raises 400, 404 or 503 refusals."""
    pod = cluster.store.get(ObjectKey(_PODS, namespace, name))
    if pod is None:
        raise not_found(Subject(group="", kind="pods", name=name))
    container = _container(pod.body, name, query.get("container", ""))
    node_name = str(dig(pod.body, "spec", "nodeName") or "")
    if not node_name:
        raise bad_request(f"pod {name} is not assigned to a node yet, so there are no logs")
    node = cluster.store.get(ObjectKey(_NODES, "", node_name))
    if node is None:
        raise not_found(Subject(group="", kind="nodes", name=node_name))
    return f"{_node_address(node.body, node_name)}/containerLogs/{namespace}/{name}/{container}"


def _container(pod: Json, name: str, wanted: str) -> str:
    names = [
        str(item.get("name")) for field in ("containers", "initContainers") for item in dig(pod, "spec", field) or ()
    ]
    if wanted and wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    main = dig(pod, "spec", "containers") or ()
    if not wanted and len(main) > 1:
        listed = " ".join(str(item.get("name")) for item in main)
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    return wanted or names[0]


def _node_address(node: Json, name: str) -> str:
    port = dig(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port")
    addresses = dig(node, "status", "addresses") or []
    host = next((item.get("address") for item in addresses if item.get("type") == "InternalIP"), None)
    if not port or not host:
        raise unavailable(
            f"node {name} does not say where its logs are: it needs an InternalIP address and "
            "status.daemonEndpoints.kubeletEndpoint.Port"
        )
    return f"http://{host}:{port}"


async def stream_log(session: aiohttp.ClientSession, request: web.Request, url: str, node: str) -> web.StreamResponse:
    """Forward a container's log from the node to the client."""
    params = {key: value for key, value in request.query.items() if key in _PASSED_ON}
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS)
    try:
        async with session.get(url, params=params, timeout=timeout) as upstream:
            if upstream.status >= 400:  # noqa: PLR2004 - HTTP's own boundary
                raise bad_request((await upstream.text()).strip() or f"{node} answered {upstream.status}")
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # the client left, or the node did: the log ends there
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response
    except aiohttp.ClientError as error:
        raise unavailable(f"the node that runs the pod cannot be asked for its log ({url}): {error}") from error
