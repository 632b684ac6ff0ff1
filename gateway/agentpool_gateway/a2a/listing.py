"""The list of tasks: newest change first, with filters and a cursor.

The queue lists jobs that wait, run or failed; the pool's events name those that succeeded, were cancelled or expired.
Of each state at most `MOST_LISTED` jobs are looked at, and the newest `MOST_ENDED` of those that only events name.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from a2a.types import ListTasksRequest, ListTasksResponse

from agentpool_core.errors import UnknownJobError
from agentpool_core.jobs import Job, JobId, JobState
from agentpool_core.queue.inspector import LISTABLE
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.tasks import STATES, changed_at_ms, context_of, history_length_of, task_of

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Entry

MOST_LISTED = 1_000
MOST_ENDED = 200
PAGE, LARGEST_PAGE = 50, 100
_ENDED = frozenset(state.value for state in JobState if state.terminal and state not in LISTABLE)


async def list_tasks(entry: Entry, params: ListTasksRequest) -> ListTasksResponse:
    """Return a page of the pool's tasks. Raises InvalidParamsError."""
    size = params.page_size if params.HasField("page_size") else PAGE
    if not 1 <= size <= LARGEST_PAGE:
        raise invalid("pageSize", f"{size} is not from 1 to {LARGEST_PAGE}")
    history = history_length_of(params)
    after = _place_of(params.page_token)
    found = sorted((job for job in await _jobs(entry) if _wanted(job, params)), key=_place, reverse=True)
    rest = [job for job in found if after is None or _place(job) < after]
    page = rest[:size]
    return ListTasksResponse(
        tasks=[task_of(job, history_length=history, artifacts=params.include_artifacts) for job in page],
        next_page_token=_token(page[-1]) if len(rest) > size else "",
        page_size=len(page),
        total_size=len(found),
    )


async def _jobs(entry: Entry) -> list[Job]:
    inspector = entry.queue.inspector
    listed = await asyncio.gather(*(inspector.jobs(entry.pool, state, limit=MOST_LISTED) for state in LISTABLE))
    by_id = {job.job_id: job for jobs in listed for job in jobs}
    newest = await inspector.newest_events(entry.pool, limit=MOST_LISTED)
    ended = dict.fromkeys(event.job_id for event in newest if event.type in _ENDED and event.job_id not in by_id)
    return [*by_id.values(), *await _records(entry, list(ended)[:MOST_ENDED])]


async def _records(entry: Entry, ids: Sequence[JobId]) -> list[Job]:
    """Return the records that are still kept."""
    records = (entry.queue.inspector.job(entry.pool, job_id) for job_id in ids)
    found = await asyncio.gather(*records, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, UnknownJobError):
            raise each
    return [each for each in found if isinstance(each, Job)]


def _wanted(job: Job, params: ListTasksRequest) -> bool:
    if params.status and STATES[job.state] != params.status:
        return False
    since = params.status_timestamp_after
    if params.HasField("status_timestamp_after") and changed_at_ms(job) < since.ToMilliseconds():
        return False
    return not params.context_id or context_of(job) == params.context_id


def _place(job: Job) -> tuple[int, str]:
    return changed_at_ms(job), job.job_id


def _token(job: Job) -> str:
    """Return the cursor after a task; clients do not look into it."""
    at_ms, job_id = _place(job)
    return base64.urlsafe_b64encode(f"{at_ms} {job_id}".encode()).decode()


def _place_of(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    try:
        at_ms, job_id = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return int(at_ms), job_id
    except ValueError as error:
        raise invalid("pageToken", "not a token of this list; send nextPageToken of the page before") from error
