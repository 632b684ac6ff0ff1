"""A small typed client of the Kubernetes API: one method per verb, one HTTP session.

Answers are plain JSON; refusals are the exceptions of `kube.errors`. The client neither caches nor retries: informers
cache, work queues retry.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from agentpool_devcluster.kube.errors import KubeError, UnreachableError, api_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from agentpool_devcluster.kube.kubeconfig import Access
    from agentpool_devcluster.kube.objects import KubeObject, Uid
    from agentpool_devcluster.kube.resources import Resource

REQUEST_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 10.0
LARGEST_WATCH_LINE_BYTES = 16 * 2**20
FIRST_REFUSAL_STATUS = 400  # HTTP statuses from here on carry a Status object


class Patch(StrEnum):
    """Patch format; the value is the content type."""

    MERGE = "application/merge-patch+json"  # RFC 7386: lists are replaced
    STRATEGIC = "application/strategic-merge-patch+json"  # built-in kinds only: lists merge by key
    JSON = "application/json-patch+json"  # RFC 6902: a list of operations


class KubeClient:
    """A session with one API server. Close it, or use it as an async context manager."""

    def __init__(self, access: Access, *, user_agent: str) -> None:
        self._access = access
        connector = aiohttp.TCPConnector(limit=0, ssl=access.tls or True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={**access.headers, "User-Agent": user_agent, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            read_bufsize=LARGEST_WATCH_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session and its connections."""
        await self._session.close()

    @property
    def server(self) -> str:
        """Return the server's base URL."""
        return self._access.server

    async def get(self, resource: Resource, namespace: str | None, name: str) -> KubeObject:
        """Return one object."""
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> KubeObject:
        """Return the collection (`items` and `metadata.resourceVersion`), narrowed by the selectors if given."""
        return await self._request("GET", resource.path(namespace), query=_selection(labels, fields))

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> KubeObject:
        """Create an object, or post to the subresource of an existing one."""
        return await self._request("POST", resource.path(namespace, name, subresource), body=body)

    async def replace(
        self, resource: Resource, obj: Mapping[str, Any], *, subresource: str | None = None
    ) -> KubeObject:
        """Replace the object; a resourceVersion in the body makes the write conditional."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._request("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        kind: Patch = Patch.MERGE,
        subresource: str | None = None,
    ) -> KubeObject:
        """Change part of an object. A `metadata.uid` or `resourceVersion` in the patch is a precondition."""
        path = resource.path(namespace, name, subresource)
        return await self._request("PATCH", path, body=patch, content_type=kind.value)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: Uid | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """Ask for an object's deletion.

        `uid` guards against a later object of the same name; `grace_seconds` None uses the object's own grace period.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", resource.path(namespace, name), body=options)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        since: str,
        timeout_seconds: int,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield events (`type`, `object`) after resourceVersion `since`, until the server ends the watch.

        Raises UnreachableError when the connection breaks. An ERROR event is raised as its ApiError.
        """
        query = {
            **_selection(labels, fields),
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
        }
        # A watch may be silent for a long time; a timeout slightly longer than the watch detects a vanished peer.
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=timeout_seconds + 15
        )
        try:
            async with self._session.get(
                self._access.server + resource.path(namespace),
                params=query,
                timeout=patience,
                server_hostname=self._access.tls_server_name,
            ) as response:
                if response.status >= FIRST_REFUSAL_STATUS:
                    raise api_error(response.status, await _json(response))
                async for line in response.content:
                    if line.strip():
                        yield _watch_event(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnreachableError(self._access.server, error) from error

    async def _request(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> KubeObject:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": content_type}
        try:
            async with self._session.request(
                verb,
                self._access.server + path,
                params=query,
                data=data,
                headers=headers,
                server_hostname=self._access.tls_server_name,
            ) as response:
                answer = await _json(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(self._access.server, error) from error
        except RuntimeError as error:  # raised by aiohttp for a closed session
            raise KubeError(f"the client of {self._access.server} is closed") from error
        if status >= FIRST_REFUSAL_STATUS:
            raise api_error(status, answer)
        return answer


async def _json(response: aiohttp.ClientResponse) -> KubeObject:
    """Return the body as an object; text that is not JSON becomes the message of a Status."""
    text = await response.text()
    try:
        answer = json.loads(text) if text else {}
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": text[:500]}


def _watch_event(line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line)
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        raise api_error(int(status.get("code") or 500), status)
    return event


def _selection(labels: str, fields: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in chosen.items() if value}
