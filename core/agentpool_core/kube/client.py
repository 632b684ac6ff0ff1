"""The one client of the Kubernetes API: plain JSON over the official client, errors wrapped.

Objects stay dictionaries: a few fields of many objects are read, and typed models of twenty thousand pods would cost
more than the work. `paths` names the objects, `connection` opens a connection. The operator adds its write gate and its
queue of requests in `agentpool_operator.cluster`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from agentpool_core.errors import ClusterUnreachableError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import deep_json, paths
from agentpool_core.kube.errors import ForeignAnswerError, NotThereError, refusal
from agentpool_core.kube.watch import SILENCE_SECONDS, change, lines, watch_query
from agentpool_core.redis_address import Address, address_of, missing_secret, redis_of, secret_of
from agentpool_core.text import render_error

USER_AGENT = "agentpool"
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
REQUEST_TIMEOUT_SECONDS = 10.0  # longer than any healthy answer, shorter than a Lease
FIRST_ERROR = 400  # HTTP status
PAGE = 500  # objects a page of a list
SHOWN_CHARACTERS = 200  # of an error that is no Status
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)
Json = dict[str, Any]
Object = Mapping[str, Any]


class Cluster:
    """An open connection.

    Every method raises a ClusterRefusalError when the API server refuses, ClusterUnreachableError without its answer.
    """

    def __init__(self, api: Any) -> None:
        self._api = api  # kubernetes.aio's ApiClient, only partly typed

    async def agentpools(self, namespace: str | None = None) -> list[Json]:
        """Return the AgentPools of a namespace; None: of all."""
        found = await self.get(paths.agentpools(namespace))
        return list(found.get("items") or [])

    async def agentpool(self, pool: PoolRef) -> Json:
        """Return an AgentPool. Raises UnknownPoolError if it does not exist."""
        try:
            return await self.get(paths.agentpools(pool.namespace, pool.name))
        except NotThereError as error:
            raise UnknownPoolError(str(pool)) from error

    async def redis_address(self, pool: PoolRef) -> Address:
        """Return the address of a pool's Redis. Raises SecretError for an unusable Secret."""
        redis = redis_of(await self.agentpool(pool))
        reference = secret_of(redis)
        secret = {} if reference is None else await self._secret(pool.namespace, reference.name)
        return address_of(redis, pool.namespace, secret)

    async def _secret(self, namespace: str, name: str) -> Json:
        try:
            return await self.get(paths.secret(namespace, name))
        except NotThereError as error:
            raise missing_secret(namespace, name) from error

    async def get(self, path: str, **query: str) -> Json:
        """Return an object, or a page of a collection."""
        return await self._request("GET", path, query=query)

    async def list(self, path: str, **selectors: str) -> tuple[list[Json], str]:
        """Return all objects of a collection, read page by page, and the resourceVersion to watch from."""
        items: list[Json] = []
        query = {**selectors, "limit": str(PAGE)}
        while True:
            page = await self.get(path, **query)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(self, path: str, since: str, **selectors: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield changes after a resourceVersion, bookmarks included, until the server closes the watch.

        Raises ExpiredError when `since` is too old.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        response = await self._send("GET", path, query={**selectors, **watch_query(since)}, limits=limits)
        try:
            async for line in lines(response.content.iter_any()):
                yield change(path, line)
        except (*BROKEN, ValueError) as error:
            raise self._unreachable(f"the connection of the watch of {path} was lost: {_reason(error)}") from error
        finally:
            response.close()

    async def create(self, path: str, body: Object) -> Json:
        """Create an object in the collection at `path`, or ask for a review. Raises ClashError if it exists."""
        return await self._request("POST", path, body)

    async def dry_run(self, path: str, body: Object) -> Json:
        """Return the object that a creation would store, completed by admission; nothing is stored."""
        return await self._request("POST", path, body, query={"dryRun": "All"})

    async def replace(self, path: str, body: Object) -> Json:
        """Replace an object; with a resourceVersion in the body, only that version (else ClashError)."""
        return await self._request("PUT", path, body)

    async def merge(self, path: str, patch: Object, *, manager: str) -> Json:
        """Apply a merge patch. A resourceVersion in the patch's metadata makes it conditional (ClashError)."""
        return await self._request("PATCH", path, patch, kind=MERGE, query={"fieldManager": manager})

    async def apply(self, path: str, body: Object, *, manager: str) -> Json:
        """Apply server-side: `manager` owns exactly the fields in `body`, taking over foreign fields.

        An unknown field is refused (InvalidObjectError), not dropped.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self._request("PATCH", path, body, kind=APPLY, query=query)

    async def delete(self, path: str) -> None:
        """Delete an object in the background."""
        await self._request("DELETE", path, {"propagationPolicy": "Background"})

    async def text(self, path: str, **query: str) -> str:
        """Return an answer that is no JSON, such as a pod's log."""
        return (await self._read("GET", path, query=query, accept="*/*")).decode(errors="replace")

    async def _request(
        self, method: str, path: str, body: Object | None = None, *, kind: str = JSON, query: Mapping[str, str] = {}
    ) -> Json:
        text = await self._read(method, path, body, kind=kind, query=query)
        try:
            found: Json = deep_json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ForeignAnswerError(f"{method} {path}") from error
        if not isinstance(found, dict):
            raise ForeignAnswerError(f"{method} {path}")
        return found

    async def _read(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        kind: str = JSON,
        query: Mapping[str, str] = {},
        accept: str = JSON,
    ) -> bytes:
        limits = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        response = await self._send(method, path, body, kind=kind, query=query, accept=accept, limits=limits)
        try:
            return await response.read()
        except BROKEN as error:
            raise self._unreachable(f"the answer to {method} {path} is incomplete: {_reason(error)}") from error
        finally:
            response.release()

    async def _send(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        limits: aiohttp.ClientTimeout,
        kind: str = JSON,
        query: Mapping[str, str] = {},
        accept: str = JSON,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": kind, "User-Agent": USER_AGENT}
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = await self._api.call_api(method, url, headers, body, _request_timeout=limits)
        except BROKEN as error:
            raise self._unreachable(_reason(error)) from error
        response: aiohttp.ClientResponse = answer.response
        if response.status >= FIRST_ERROR:
            raise await _refused(f"{method} {path}", response)
        return response

    def _unreachable(self, reason: str) -> ClusterUnreachableError:
        settings = self._api.configuration
        through = f" through the proxy {_origin(settings.proxy)}" if settings.proxy else ""
        return ClusterUnreachableError(
            f"Kubernetes API unreachable: {reason} ({_origin(settings.host)}{through})",
            remedy="check the kubeconfig and the network",
        )


async def _refused(request: str, response: aiohttp.ClientResponse) -> Exception:
    try:
        text = await response.text(errors="replace")
    except BROKEN:
        text = ""
    response.release()
    after = response.headers.get("Retry-After", "")
    return refusal(
        request=request,
        status=response.status,
        message=_message(text) or response.reason or "no message",
        retry_after_s=float(after) if after.isdigit() else None,
    )


def _message(text: str) -> str:
    """Return the message of a Status object, or the beginning of another text."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return text.strip()[:SHOWN_CHARACTERS]


def _reason(error: BaseException) -> str:
    """Return the cause in the words of the operating system, where it has some."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        cause = error.os_error
        found = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
        return found.lower() if found else str(cause)
    return render_error(error)


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL; its path, user and password may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
