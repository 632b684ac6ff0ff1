"""Wait for a job within a tool call, and report changes of the job as progress of the call.

The call reports each event of the job, and repeats the latest event during silence, so a client that resets its timeout
by progress goes on waiting. The end of the wait does not change the job. `operations` takes over next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Job, JobEvent, JobId
from agentpool_core.process.cancellation import end
from agentpool_core.text import first_line_of
from agentpool_gateway.routes.event_feed import feed_events
from agentpool_gateway.routes.long_polling import job_at_rest

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

WAIT_SECONDS = 45  # of a call that names no wait; many clients give up after 60 s
MOST_SECONDS = 60  # of a call; the gateway's `max_wait_s` may be less
Report: TypeAlias = Callable[[str], Awaitable[None]]  # sends a line to the caller
log = logging.getLogger(__name__)


async def wait_for_end(admission: Admission, job_id: JobId, wait_s: float, report: Report | None) -> Job:
    """Return the job after its end, its question or the wait.

    Raises UnknownJobError, and ProblemError for a lost permission.
    """
    wait_s = min(wait_s, admission.gateway.settings.max_wait_s)
    if report is None or wait_s <= 0:
        return await job_at_rest(admission, job_id, wait_s)
    reporting = asyncio.create_task(_report_changes(admission, job_id, report), name=f"progress of job {job_id}")
    try:
        return await job_at_rest(admission, job_id, wait_s)
    finally:
        await end(reporting)


async def _report_changes(admission: Admission, job_id: JobId, report: Report) -> None:
    try:
        async with admission.queue.hub.listen(job_id=job_id) as events:
            job = await admission.queue.inspector.job(admission.pool, job_id)
            words = f"job {job_id} {job.state}"
            await report(words)
            feed = feed_events(admission, events)
            async with aclosing(feed):
                async for event in feed:
                    words = words if event is None else words_of(event)
                    await report(words)
    except AgentPoolError as error:  # the wait reports the error to the caller
        log.info("no more progress of job %s: %s", job_id, type(error).__name__)


def words_of(event: JobEvent) -> str:
    """Return an event in a line, never with a traceback."""
    detail = first_line_of(event.detail)
    return f"job {event.job_id} {event.type}" + (f": {detail}" if detail else "")
