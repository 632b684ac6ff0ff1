"""The two ways to submit in a chaos run: the queue's client, and the gateway over HTTP.

Both raise `DoorShutError` if the answer is lost or refused for now, so the caller repeats the call. The next module is
`load`, which uses either way.
"""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from typing import Any, Protocol

import httpx

from agentpool_core.errors import (
    IdempotencyConflictError,
    QueueError,
    SignalRefusedError,
    UnknownJobError,
    UnknownParentError,
)
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue import Producer
from tests.chaos.ground import CLIENT_TIMEOUT_SECONDS, POOL


class DoorShutError(Exception):
    """The outcome of the call is unknown: repeat the call."""


class ParentGoneError(Exception):
    """The job waits for a parent that the queue does not know."""


class Door(Protocol):
    """A way to submit and cancel."""

    async def submit(self, request: JobRequest) -> tuple[str, str]:
        """Submit a job; return the acknowledged id, and the state of a new job ("": an earlier submit made it)."""

    async def cancel(self, job_id: JobId) -> str:
        """Cancel a job; return the outcome as a word."""

    async def signal(self, job_id: JobId, name: str, value: str) -> None:
        """Send a signal, which is its own id; a job that has ended or is unknown takes none."""


class QueueDoor:
    """Direct access to Redis."""

    def __init__(self, client: Any) -> None:
        self._producer = Producer(client, POOL)

    async def submit(self, request: JobRequest) -> tuple[str, str]:
        try:
            receipt = await self._producer.submit(request)
        except IdempotencyConflictError:
            raise
        except UnknownParentError as error:
            raise ParentGoneError(f"{request.job_id}: {error}") from error
        except QueueError as error:
            raise DoorShutError from error
        return receipt.job_id, "" if receipt.duplicate else receipt.state.value

    async def cancel(self, job_id: JobId) -> str:
        try:
            return str(await self._producer.cancel(job_id))
        except QueueError as error:
            raise DoorShutError from error

    async def signal(self, job_id: JobId, name: str, value: str) -> None:
        try:
            await self._producer.signal(job_id, name, value, signal_id=value)
        except (SignalRefusedError, UnknownJobError):
            return
        except QueueError as error:
            raise DoorShutError from error


class GatewayDoor:
    """Access over HTTP."""

    def __init__(self, url: str) -> None:
        self._jobs = f"{url}/v1/namespaces/{POOL.namespace}/pools/{POOL.name}/jobs"
        self._http = httpx.AsyncClient(timeout=CLIENT_TIMEOUT_SECONDS)

    async def submit(self, request: JobRequest) -> tuple[str, str]:
        document = {name: value for name, value in dataclasses.asdict(request).items() if value not in (None, ())}
        answer = await self._ask("POST", "", json=document)
        if answer.status_code == HTTPStatus.CONFLICT:
            raise IdempotencyConflictError(key=str(request.idempotency_key), job_id="")
        if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and "no job of that id" in answer.text:
            raise ParentGoneError(f"{request.job_id}: {answer.text}")
        if answer.status_code != HTTPStatus.ACCEPTED:
            raise AssertionError(f"{request.job_id} was answered {answer.status_code}: {answer.text}")
        receipt = answer.json()
        return str(receipt["job_id"]), "" if receipt["duplicate"] else str(receipt["state"])

    async def cancel(self, job_id: JobId) -> str:
        answer = await self._ask("DELETE", f"/{job_id}")
        return str(answer.json()["outcome"]) if answer.is_success else "finished"

    async def signal(self, job_id: JobId, name: str, value: str) -> None:
        headers = {"Idempotency-Key": value}
        answer = await self._ask("POST", f"/{job_id}/signals/{name}", json=value, headers=headers)
        if not answer.is_success and answer.status_code not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
            raise AssertionError(f"signal {value} was answered {answer.status_code}: {answer.text}")

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, self._jobs + path, **options)
        except httpx.HTTPError as error:
            raise DoorShutError from error
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise DoorShutError(answer.text)
        return answer
