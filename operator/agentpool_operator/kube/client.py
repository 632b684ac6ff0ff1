"""The operator's Kubernetes client: plain JSON over the official client, errors wrapped.

Objects stay dictionaries: the operator reads a few fields of many objects, and typed models of twenty thousand pods
would cost more than the work. Every write passes a gate, so an operator that may no longer lead writes nothing, and
requests queue here instead of in the API server. `paths` names the objects; `applier`, `replicas`, `patch`, `events`,
`election` and `inventory` build on this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp

from agentpool_core.errors import ClusterUnreachableError
from agentpool_core.kube import deep_json
from agentpool_operator.kube import paths
from agentpool_operator.kube.api_errors import ExpiredError, NotLeadingError, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from kubernetes.aio import client as kube

Json = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
REQUEST_TIMEOUT_S = 10.0  # seconds: longer than any healthy answer, shorter than a Lease
WATCH_S = 290  # seconds: the server closes a watch after this, below common proxies' 300 s
WATCH_SILENCE_S = 310.0  # seconds without a byte after which a watch counts as dead
FIRST_ERROR = 400  # HTTP status
PAGE = 500  # objects a page of a list
AT_ONCE = 32  # requests: when a thousand are sent at once, all of them time out, and are sent again


def _always() -> bool:
    return True


class Cluster:
    """A connection to an API server."""

    def __init__(self, api: kube.ApiClient, *, may_write: Callable[[], bool] = _always) -> None:
        self._api: Any = api  # its methods are only partly typed
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.may_write = may_write

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    async def get(self, path: str, **query: str) -> Json:
        """Return an object, or a page of a collection."""
        return await self._read(path, query=query)

    async def create(self, path: str, body: Json, *, gated: bool = True) -> Json:
        """Create an object in the collection at `path`. Raises ClashError if it exists."""
        return await self._write("POST", path, body, gated=gated)

    async def replace(self, path: str, body: Json, *, gated: bool = True) -> Json:
        """Replace an object; with a resourceVersion in the body, only that version (else ClashError)."""
        return await self._write("PUT", path, body, gated=gated)

    async def merge(self, path: str, patch: Json, *, manager: str) -> Json:
        """Apply a merge patch. A resourceVersion in the patch's metadata makes it conditional (ClashError)."""
        return await self._write("PATCH", path, patch, kind=MERGE, query={"fieldManager": manager})

    async def apply(self, path: str, body: Json, *, manager: str) -> Json:
        """Apply server-side: `manager` owns exactly the fields in `body`, taking over foreign fields.

        An unknown field is refused (InvalidObjectError), not dropped.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self._write("PATCH", path, body, kind=APPLY, query=query)

    async def delete(self, path: str) -> None:
        """Deletes an object in the background."""
        await self._write("DELETE", path, {"propagationPolicy": "Background"})

    async def list(self, path: str, **selectors: str) -> tuple[list[Json], str]:
        """All objects of a collection, page by page, and the resourceVersion to watch from."""
        items: list[Json] = []
        query = {**selectors, "limit": str(PAGE)}
        while True:
            page = await self._read(path, query=query)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(self, path: str, since: str, **selectors: str) -> AsyncIterator[tuple[str, Json]]:
        """Changes after a resourceVersion, bookmarks included, until the server closes the watch.

        Raises ExpiredError when `since` is too old.
        """
        query = {
            **selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_S),
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_S, sock_read=WATCH_SILENCE_S)
        response = await self._send("GET", path, query=query, limits=limits)
        try:
            async for line in _lines(response.content):
                event = deep_json.loads(line)
                if event["type"] == "ERROR":
                    raise _watch_error(path, event["object"])
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ClusterUnreachableError(f"watch {path}: the connection was lost: {error}") from error
        finally:
            response.close()

    async def _write(
        self,
        method: str,
        path: str,
        body: Json,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
        gated: bool = True,
    ) -> Json:
        async with self._turn(path):
            if gated and not self.may_write():
                raise NotLeadingError(f"{method} {path}: not sent, this operator does not lead")
            return await self._answer(method, path, body=body, kind=kind, query=query)

    async def _read(self, path: str, *, query: Mapping[str, str] | None = None) -> Json:
        async with self._turn(path):
            return await self._answer("GET", path, query=query)

    def _turn(self, path: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the queue of a request; a Lease does not queue, so that the operator keeps leading."""
        return contextlib.nullcontext() if paths.is_of_lease(path) else self._turns

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        limits = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        response = await self._send(method, path, body=body, kind=kind, query=query, limits=limits)
        try:
            answer: Json = deep_json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ClusterUnreachableError(f"{method} {path}: the answer is incomplete: {error}") from error
        finally:
            response.release()
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        limits: aiohttp.ClientTimeout,
        body: Json | None = None,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if body is not None else {})
        parameters = list(query.items()) if query else None
        _, url, headers, _, _ = await self._api.param_serialize(
            method, path, query_params=parameters, header_params=headers, auth_settings=["BearerToken"]
        )
        try:
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=limits
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnreachableError(f"{method} {path}: no answer: {_told(error)}") from error
        response: aiohttp.ClientResponse = answer.response
        if response.status >= FIRST_ERROR:
            raise await _refused(method, path, response)
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length; the stream's own iteration fails at a length that objects of the API may exceed."""
    begun: list[bytes] = []
    async for data in content.iter_any():
        first, *lines = data.split(b"\n")
        begun.append(first)
        for line in lines:
            yield b"".join(begun)
            begun = [line]


async def _refused(method: str, path: str, response: aiohttp.ClientResponse) -> Exception:
    try:
        text = await response.text()
    except (aiohttp.ClientError, TimeoutError):
        text = ""
    response.release()
    after = response.headers.get("Retry-After", "")
    return refusal(
        request=f"{method} {path}",
        status=response.status,
        message=_message(text) or response.reason or "no message",
        retry_after_s=float(after) if after.isdigit() else None,
    )


def _message(text: str) -> str:
    """Return the message of a Status object, or the raw text."""
    try:
        status = json.loads(text)
    except ValueError:
        return text.strip()
    return str(status.get("message", text)) if isinstance(status, dict) else text


def _watch_error(path: str, status: Json) -> Exception:
    code = int(status.get("code") or FIRST_ERROR)
    message = str(status.get("message", "the watch failed"))
    if status.get("reason") == "Expired":
        return ExpiredError(request=f"watch {path}", status=code, message=message)
    return refusal(request=f"watch {path}", status=code, message=message, retry_after_s=None)


def _told(error: BaseException) -> str:
    return str(error) or ("timed out" if isinstance(error, TimeoutError | asyncio.TimeoutError) else repr(error))
