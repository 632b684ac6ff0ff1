"""The list of tasks: newest change first, with filters and a cursor.

Of each state at most `MOST_LISTED` jobs are looked at: the newest that succeeded, were cancelled or expired, and the
oldest of any other state.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from a2a.types import ListTasksRequest, ListTasksResponse, Task

from agentpool_core.errors import UnknownJobError
from agentpool_core.jobs import Job, JobId, JobState
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.reading import read_output, read_plain_task, with_artifacts
from agentpool_gateway.a2a.tasks import STATES_OF, changed_at_ms, context_of, history_length_of, state_of

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

MOST_LISTED = 1_000
PAGE, LARGEST_PAGE = 50, 100
MOST_OUTPUT_BYTES = 2**16  # of each task of a page
CHUNK = 50  # whole records that are read at once
Place: TypeAlias = tuple[int, JobId]  # of a task in the list: time of its last change, id


async def list_tasks(admission: Admission, params: ListTasksRequest) -> ListTasksResponse:
    """Return a page of the pool's tasks. Raises InvalidParamsError."""
    size = params.page_size if params.HasField("page_size") else PAGE
    if not 1 <= size <= LARGEST_PAGE:
        raise invalid("pageSize", f"{size} is not from 1 to {LARGEST_PAGE}")
    history = history_length_of(params)
    after = _place_of(params.page_token)
    found = sorted((_place(job) for job in await _heads(admission, params) if _wanted(job, params)), reverse=True)
    if params.context_id:
        found = await _of_context(admission, found, params.context_id)
    rest = [place for place in found if after is None or place < after]
    page = await _records(admission, rest[:size])
    return ListTasksResponse(
        tasks=[await _row(admission, job, history, artifacts=params.include_artifacts) for job in page],
        next_page_token=_token(rest[size - 1]) if len(rest) > size else "",
        page_size=len(page),
        total_size=len(found),
    )


async def _row(admission: Admission, job: Job, history_length: int | None, *, artifacts: bool) -> Task:
    task = await read_plain_task(admission.queue, job, history_length=history_length)
    if not artifacts:
        return task
    return with_artifacts(task, job, await read_output(admission.queue, job, most_bytes=MOST_OUTPUT_BYTES))


async def _heads(admission: Admission, params: ListTasksRequest) -> list[Job]:
    """Return the tasks without payloads and results, which may have a MiB each."""
    inspector, pool = admission.queue.inspector, admission.pool
    states = [state for state in JobState if not params.status or params.status in STATES_OF[state]]
    listed = [await inspector.jobs(pool, state, limit=MOST_LISTED, bodies=False) for state in states]
    return list({job.job_id: job for jobs in listed for job in jobs}.values())  # a job may move in between


async def _of_context(admission: Admission, places: Sequence[Place], context: str) -> list[Place]:
    """Return the places of the tasks of a context, which is a part of their payloads."""
    found: list[Place] = []
    for chunk in _chunks(places):
        wanted = {job.job_id for job in await _records(admission, chunk) if context_of(job) == context}
        found += [place for place in chunk if place[1] in wanted]
    return found


def _chunks(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    return (places[first : first + CHUNK] for first in range(0, len(places), CHUNK))


async def _records(admission: Admission, places: Sequence[Place]) -> list[Job]:
    """Return the whole records that are still kept."""
    records = (admission.queue.inspector.job(admission.pool, job_id) for _, job_id in places)
    found = await asyncio.gather(*records, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, UnknownJobError):
            raise each
    return [each for each in found if isinstance(each, Job)]


def _wanted(job: Job, params: ListTasksRequest) -> bool:
    if params.status and state_of(job) != params.status:
        return False
    if not params.HasField("status_timestamp_after"):
        return True
    return changed_at_ms(job) >= params.status_timestamp_after.ToMilliseconds()


def _place(job: Job) -> Place:
    return changed_at_ms(job), job.job_id


def _token(place: Place) -> str:
    """Return the cursor after a task; clients do not look into it."""
    at_ms, job_id = place
    return base64.urlsafe_b64encode(f"{at_ms} {job_id}".encode()).decode()


def _place_of(token: str) -> Place | None:
    if not token:
        return None
    try:
        at_ms, job_id = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return int(at_ms), JobId(job_id)
    except ValueError as error:
        raise invalid("pageToken", "not a token of this list; send nextPageToken of the page before") from error
