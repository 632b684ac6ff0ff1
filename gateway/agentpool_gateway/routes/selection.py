"""Selected jobs over HTTP: list, count, cancel, replay, purge.

Lists come in pages. A change answers after some seconds at most, with the number of changed jobs and a cursor; the
caller sends the cursor again until it is null.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import StringConstraints

from agentpool_core.document_fields import check_fields, read_optional_whole
from agentpool_core.documents import Document, summary_document
from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import MOST_TAGS, TAG_PATTERN, JobState
from agentpool_core.queue.selection import Change
from agentpool_core.queue.selector import LATEST_MS, LISTED, MOST_NAMES, JobSelector
from agentpool_core.submission import choice_of
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.failures import FailureGroups
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.bodies import json_body

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/jobs", tags=["jobs"])
LONGEST_CHANGE_SECONDS = 5.0  # of a request; the cursor continues
GROUPED_AT_ONCE = 500  # dead letters
_LISTS = {
    "states": "state",
    "kinds": "kind",
    "routes": "route",
    "tenants": "tenant",
    "tags": "tag",
}  # by field, its name in requests
_TIMES = ("submitted_after_ms", "submitted_before_ms")
_TEXTS = ("error", "error_group")
Names = Annotated[Sequence[Annotated[str, StringConstraints(min_length=1)]], Query(max_length=MOST_NAMES)]
Tags = Annotated[Sequence[Annotated[str, StringConstraints(pattern=f"^{TAG_PATTERN}$")]], Query(max_length=MOST_TAGS)]
Moment = Annotated[int | None, Query(ge=0, le=LATEST_MS)]
ErrorText = Annotated[str | None, Query(min_length=1, max_length=2_000)]


def conditions_of(  # noqa: PLR0917  # FastAPI reads the parameters by name
    kind: Names = (),
    route: Names = (),
    tenant: Names = (),
    tag: Tags = (),
    submitted_after_ms: Moment = None,
    submitted_before_ms: Moment = None,
    error: ErrorText = None,
    error_group: ErrorText = None,
) -> JobSelector:
    """Return the selector of a query without states."""
    return JobSelector(
        kinds=tuple(kind),
        routes=tuple(route),
        tenants=tuple(tenant),
        tags=tuple(tag),
        submitted_after_ms=submitted_after_ms,
        submitted_before_ms=submitted_before_ms,
        error=error,
        error_group=error_group,
    )


Conditions = Annotated[JobSelector, Depends(conditions_of)]


def selector_of(conditions: Conditions, state: Annotated[Sequence[JobState], Query()] = ()) -> JobSelector:
    """Return the selector of a query."""
    return replace(conditions, states=tuple(state))


Selected = Annotated[JobSelector, Depends(selector_of)]
PageSize = Annotated[int, Query(ge=1, le=1_000)]


@router.get("", responses=openapi.FIND_JOBS)
async def list_jobs(
    admission: Admitted,
    selector: Selected,
    limit: PageSize = 100,
    cursor: str | None = None,
) -> JsonResponse:
    """List selected jobs, at most `limit`; without `state`, jobs that wait, run or are dead.

    Jobs that succeeded, expired or were cancelled: newest first; all others: oldest first. A job's own record has its
    payload.
    """
    return await page_of(admission, replace(selector, states=selector.states or LISTED), limit, cursor)


async def page_of(admission: Admission, selector: JobSelector, limit: int, cursor: str | None) -> JsonResponse:
    """Return a page of selected jobs."""
    page = await admission.queue.inspector.find(admission.pool, selector, limit=limit, cursor=cursor, bodies=False)
    return JsonResponse({"jobs": [summary_document(job, admission.pool) for job in page.jobs], "cursor": page.cursor})


@router.get(":count", responses=openapi.COUNT_JOBS)
async def count_jobs(admission: Admitted, selector: Selected) -> JsonResponse:
    """Return the number of selected jobs; without `state`, in any state."""
    return JsonResponse({"count": await admission.queue.inspector.select(admission.pool, selector).count()})


@router.get(":errors", responses=openapi.FAILURES)
async def group_failures(admission: Admitted, selector: Selected) -> JsonResponse:
    """Group the selected dead letters by error; numbers and long ids in an error make no difference.

    The condition `error_group` with the `error` of a group selects exactly its jobs. `match` is a text for the
    condition `error`, which selects similar errors too. `complete` is false after the seconds that a request may take;
    the groups then have the oldest dead letters.
    """
    chosen = replace(selector, states=(JobState.FAILED,))
    groups, cursor = FailureGroups(), None
    stop_at = time.monotonic() + LONGEST_CHANGE_SECONDS
    while True:
        find = admission.queue.inspector.find
        page = await find(admission.pool, chosen, limit=GROUPED_AT_ONCE, cursor=cursor, bodies=False)
        groups.add(page.jobs)
        cursor = page.cursor
        if cursor is None or time.monotonic() >= stop_at:
            body = {"groups": list(groups.largest_first()), "counted": groups.counted, "complete": cursor is None}
            return JsonResponse(body)


@router.post(":cancel", responses=openapi.CHANGE_JOBS, openapi_extra=openapi.CANCEL_BODY)
async def cancel_jobs(admission: Admitted, request: Request) -> JsonResponse:
    """Cancel the selected jobs that wait or run."""
    return await _change(admission, request, Change.CANCEL)


@router.post(":replay", responses=openapi.REPLAY_JOBS, openapi_extra=openapi.REPLAY_BODY)
async def replay_jobs(admission: Admitted, request: Request) -> JsonResponse:
    """Put the selected dead letters back into the queue."""
    return await _change(admission, request, Change.REPLAY)


@router.post(":purge", responses=openapi.CHANGE_JOBS, openapi_extra=openapi.PURGE_BODY)
async def purge_jobs(admission: Admitted, request: Request) -> JsonResponse:
    """Delete the selected ended jobs, with their results."""
    return await _change(admission, request, Change.PURGE)


async def _change(admission: Admission, request: Request, change: Change) -> JsonResponse:
    document, _ = await json_body(request, admission.gateway.settings)
    selector, cursor, reason = _read_change(document, change)
    selection = admission.queue.inspector.select(admission.pool, selector)
    stop_at = time.monotonic() + LONGEST_CHANGE_SECONDS
    changed = 0
    while True:
        done = await selection.step(change, cursor=cursor, reason=reason)
        changed, cursor = changed + done.changed, done.cursor
        if cursor is None or time.monotonic() >= stop_at:
            return JsonResponse({"changed": changed, "cursor": cursor})


def _read_change(document: Any, change: Change) -> tuple[JobSelector, str | None, str]:
    """Return selector, cursor and reason of a body. Refuses an empty selector, which would mean every job."""
    known = sorted((*_LISTS.values(), *_TIMES, *_TEXTS, "cursor", *(["reason"] if change is Change.CANCEL else [])))
    document = check_fields("body", document, known, 'send an object such as {"state": ["queued"]}')
    conditions: Document = {field: _texts(name, document.get(name, [])) for field, name in _LISTS.items()}
    conditions["states"] = tuple(choice_of(JobState)("state", state) for state in conditions["states"])
    conditions |= {name: read_optional_whole(name, document.get(name)) for name in _TIMES}
    conditions |= {name: document.get(name) for name in _TEXTS}
    selector = JobSelector(**conditions)
    if selector.is_empty:
        raise _refused("state", None, "no condition is given", "name the states, or another condition")
    cursor, reason = document.get("cursor"), document.get("reason", "requested")
    texts = [(name, document.get(name) or "") for name in ("cursor", *_TEXTS)]
    for name, text in [*texts, ("reason", reason)]:
        if not isinstance(text, str) or len(text) > 2_000:  # noqa: PLR2004  # a cursor has fewer
            raise _refused(name, text, "not a text of at most 2000 characters", "send a JSON string")
    return selector, cursor or None, reason


def _texts(field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _refused(field, value, "not a list of texts", "send a JSON array of strings")
    return tuple(value)


def _refused(field: str, value: object, problem: str, remedy: str) -> InvalidJobError:
    return InvalidJobError(field=field, value=value, problem=problem, remedy=remedy)
