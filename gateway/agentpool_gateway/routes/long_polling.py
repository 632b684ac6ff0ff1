"""Long-polls: `?wait=30s` and RFC 7240's `Prefer: wait=30`, bounded by the gateway's own limit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import Request

from agentpool_core.durations import milliseconds
from agentpool_core.errors import JobEndedError, ResultTimeoutError
from agentpool_core.jobs import Job, JobEvent, JobId
from agentpool_core.process.cancellation import end
from agentpool_gateway.access import rechecks
from agentpool_gateway.access.authority import Verb
from agentpool_gateway.http.problems import ProblemError

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

_PREFERENCE = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)


def wait_of(request: Request, most_s: float) -> float:
    """Return the caller's longest wait in seconds; 0: no wait. The query overrides the header."""
    text = request.query_params.get("wait")
    if text is not None:
        span_ms = milliseconds(text)
        if span_ms is None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "bad-wait",
                f"wait is {text[:50]!r}",
                remedy=f"write wait=30s, at most {most_s:g}s",
            )
        return min(most_s, span_ms / 1000)
    preferred = _PREFERENCE.search(request.headers.get("prefer", ""))
    return min(most_s, float(preferred[1])) if preferred else 0.0


async def _wait_until_ended(admission: Admission, job_id: JobId, within_s: float) -> bool:
    try:
        await admission.queue.client.result(job_id, timeout=within_s)
    except JobEndedError:
        return True
    except ResultTimeoutError:
        return False
    return True


async def job_after(admission: Admission, job_id: JobId, wait_s: float) -> Job:
    """Return the job after the end, after `wait_s`, or when the gateway closes.

    Raises UnknownJobError, and ProblemError if the caller may no longer read.
    """
    loop = asyncio.get_running_loop()
    until, recheck_s = loop.time() + wait_s, admission.gateway.settings.recheck_s
    ended = wait_s <= 0
    while not ended:
        left_s = until - loop.time()
        waited = await admission.gateway.draining.unless_closing(
            _wait_until_ended(admission, job_id, min(left_s, recheck_s))
        )
        ended = waited is not False or left_s <= recheck_s
        await rechecks.check(admission, Verb.READ)
    return await admission.queue.inspector.job(admission.pool, job_id)


async def job_at_rest(admission: Admission, job_id: JobId, wait_s: float) -> Job:
    """Return the job after its end, when it asks for input, after `wait_s`, or when the gateway closes.

    Raises UnknownJobError, and ProblemError if the caller may no longer read.
    """
    if wait_s <= 0:
        return await job_after(admission, job_id, wait_s)
    async with admission.queue.hub.listen(job_id=job_id) as events:
        asking = asyncio.create_task(_until_it_asks(admission, job_id, events))
        ended = asyncio.create_task(job_after(admission, job_id, wait_s))
        try:
            await asyncio.wait((asking, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done() or (job := await asking) is None:
                return await ended
            await rechecks.check(admission, Verb.READ)
            return job
        finally:
            asking.cancel()
            try:
                await end(ended)
            finally:
                await end(asking)


async def _until_it_asks(admission: Admission, job_id: JobId, events: AsyncIterator[JobEvent]) -> Job | None:
    """Return the job when it waits for a signal; None: no more events can be read."""
    job = await admission.queue.inspector.job(admission.pool, job_id)
    if job.waits_for:
        return job
    async for event in events:
        if event.type == "waiting":
            job = await admission.queue.inspector.job(admission.pool, job_id)
            if job.waits_for:
                return job
    return None
