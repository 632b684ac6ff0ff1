"""Server-Sent Events of a pool or a job; resumable with Last-Event-ID.

A stream begins with an id, so that it can be resumed before the first event. After an id whose next events are deleted,
the event `gap` comes first. A comment is sent during silence, so proxies keep the stream open. A job's stream begins
with the present job and ends when the job ends; a client that resumes after the end gets 204, which stops a browser.
When the caller loses the permission, the stream ends with the event `error` and a problem document as data. That event
has no id, so a resumed stream misses nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import lru_cache
from http import HTTPStatus
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from agentpool_core.documents import Document, chunk_document, event_document, job_document
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Job, JobEvent, JobId, JobState
from agentpool_core.queue.chunks import Chunk
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.http.problems import ProblemError, problem_of
from agentpool_gateway.pools.event_hub import START, position_of
from agentpool_gateway.pools.output_hub import Page
from agentpool_gateway.routes.event_feed import HEADERS, SILENCE, feed_events

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["events"])
BEGINNING = "0"  # before the oldest event
TEXTS = 256  # kept for listeners that are a little behind; a detail has at most 8 KiB
_page_texts: WeakKeyDictionary[Page, str] = WeakKeyDictionary()  # a page has up to 2 MiB: kept while a reader has it
_ENDS = frozenset(state.value for state in JobState if state.terminal)
_ID = re.compile(r"\d{1,16}(-\d{1,16}(\.\d{1,9})?)?")


@router.get("/events", response_class=StreamingResponse, responses=openapi.STREAM, openapi_extra=openapi.RESUME)
async def pool_events(admission: Admitted, request: Request) -> Response:
    """Stream all events of the pool, from now on or after Last-Event-ID."""
    return _stream(admission, _pool_stream(admission, request.url.path, _last_id(request)))


@router.get(
    "/jobs/{job_id}/events", response_class=StreamingResponse, responses=openapi.STREAM, openapi_extra=openapi.RESUME
)
async def job_events(admission: Admitted, request: Request, job_id: str) -> Response:
    """Stream a job's events until the end."""
    last = _last_id(request)
    job = await admission.queue.inspector.job(admission.pool, JobId(job_id))
    if job.state.terminal and last != START and not await _end_is_left(admission, JobId(job_id), last):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _stream(admission, _job_stream(admission, request.url.path, JobId(job_id), last))


@router.get(
    "/jobs/{job_id}/stream", response_class=StreamingResponse, responses=openapi.STREAM, openapi_extra=openapi.RESUME
)
async def job_output(admission: Admitted, request: Request, job_id: str) -> Response:
    """Stream the output of a job's handler until the job has ended, from the start or after Last-Event-ID."""
    last = _last_id(request)
    place = BEGINNING if last == START else last
    job = await admission.queue.inspector.job(admission.pool, JobId(job_id))
    if job.state.terminal and last not in {START, BEGINNING}:
        async with aclosing(admission.queue.output.after(job.job_id, place)) as rest:
            if await anext(rest, None) is None:
                return Response(status_code=HTTPStatus.NO_CONTENT)
    return _stream(admission, _output_stream(admission, request.url.path, job, place))


async def _output_stream(admission: Admission, path: str, job: Job, place: str) -> AsyncGenerator[str, None]:
    """Yield chunks as text; after the last one the event `end` with the job's state."""
    yield f"id: {place}\n\n"
    if place != BEGINNING and (lost := _gap(place, await admission.queue.output.oldest(job.job_id))):
        yield lost
    feed = feed_events(admission, _output_texts(admission, job, place))
    async with aclosing(feed):
        try:
            async for text in feed:
                yield SILENCE if text is None else text
        except AgentPoolError as refusal:
            yield _problem(refusal, path)


async def _output_texts(admission: Admission, job: Job, place: str) -> AsyncGenerator[str, None]:
    """Yield the chunks after a place as text, many at once if they came at once, until the job has ended."""
    inspector = admission.queue.inspector
    async with aclosing(admission.queue.output_hub.follow(job.job_id, place)) as pages:
        while not job.state.terminal:
            page = await anext(pages)
            if page.chunks:
                place = page.last
                yield _text_of_page(page)
            if page.ended or not page.chunks:
                job = await inspector.job(admission.pool, job.job_id)
    async for chunk in admission.queue.output.after(job.job_id, place):
        yield _text_of_chunk(chunk)
    yield _message("end", {"job_id": job.job_id, "state": job.state.value})


async def _end_is_left(admission: Admission, job_id: JobId, last: str) -> bool:
    """Return whether the end of an ended job comes after this event, as far as events are kept."""
    while events := await admission.queue.inspector.events(admission.pool, after=last):
        if any(event.job_id == job_id and event.type in _ENDS for event in events):
            return True
        last = events[-1].id
    return False


def _last_id(request: Request) -> str:
    last = request.headers.get("last-event-id", "")
    if not last:
        return START
    if not _ID.fullmatch(last):
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "bad-event-id",
            f"Last-Event-ID is {last[:50]!r}",
            remedy="send the id of an event of this stream, or leave the header out",
        )
    return last


def _stream(admission: Admission, texts: AsyncGenerator[str, None]) -> StreamingResponse:
    return StreamingResponse(_count_stream(admission, texts), media_type="text/event-stream", headers=HEADERS)


async def _count_stream(admission: Admission, texts: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    with admission.gateway.metrics.streams.track_inprogress():
        async with aclosing(texts):
            async for text in texts:
                yield text


async def _pool_stream(admission: Admission, path: str, last: str) -> AsyncGenerator[str, None]:
    after = await _place(admission, last)
    async with admission.queue.hub.listen(after) as events:
        yield f"id: {after}\n\n"  # a client that loses the connection before the first event resumes here
        if lost := await _lost_events(admission, last):
            yield lost
        texts = _texts(admission, path, events, lambda _event: True)
        async with aclosing(texts):
            async for text in texts:
                yield text


async def _job_stream(admission: Admission, path: str, job_id: JobId, last: str) -> AsyncGenerator[str, None]:
    after = await _place(admission, last)
    async with admission.queue.hub.listen(after) as events:
        job = await admission.queue.inspector.job(admission.pool, job_id)
        if last == START:
            yield _message("job", job_document(job, admission.pool), after)
            if job.state.terminal:
                return
        if lost := await _lost_events(admission, last):
            yield lost
        texts = _texts(admission, path, events, lambda event: event.job_id == job_id)
        async with aclosing(texts):
            async for text in texts:
                yield text
                if any(text.startswith(f"event: {state}\n") for state in _ENDS):
                    return


async def _place(admission: Admission, last: str) -> str:
    """Return the place after which a stream begins: that of the client, or the newest event."""
    if last != START:
        return last
    newest = await admission.queue.inspector.newest_events(admission.pool, limit=1)
    return newest[0].id if newest else BEGINNING


async def _lost_events(admission: Admission, last: str) -> str | None:
    """Return the event `gap` for a client of events, if any is due."""
    if last in {START, BEGINNING}:
        return None
    oldest = await admission.queue.inspector.events(admission.pool, after=BEGINNING, limit=1)
    return _gap(last, oldest[0].id if oldest else None)


def _gap(last: str, oldest: str | None) -> str | None:
    """Return the event `gap` if entries after the last one seen may be deleted; `oldest` None: nothing is kept."""
    if oldest is None or position_of(oldest) <= position_of(last):
        return None
    return _message("gap", {"after": last, "oldest": oldest})


async def _texts(
    admission: Admission, path: str, events: AsyncIterator[JobEvent], wanted: Callable[[JobEvent], bool]
) -> AsyncGenerator[str, None]:
    """Yield events as text, with a comment after each silence.

    Ends with the events, with the gateway, and, after the event `error`, when the caller loses the permission.
    """
    yield ": begun\n\n"
    feed = feed_events(admission, (event async for event in events if wanted(event)))
    async with aclosing(feed):
        try:
            async for event in feed:
                yield SILENCE if event is None else _text_of(event)
        except AgentPoolError as refusal:
            yield _problem(refusal, path)


@lru_cache(maxsize=TEXTS)
def _text_of(event: JobEvent) -> str:
    """Return an event as text, which is made once for all listeners."""
    return _message(event.type, event_document(event), event.id)


def _text_of_page(page: Page) -> str:
    """Return a page of output as text, which is made once for all readers of the job."""
    text = _page_texts.get(page)
    if text is None:
        text = _page_texts[page] = "".join(map(_text_of_chunk, page.chunks))
    return text


def _text_of_chunk(chunk: Chunk) -> str:
    return _message("chunk", chunk_document(chunk), chunk.id)


def _problem(refusal: AgentPoolError, path: str) -> str:
    """Return the last message of a stream after the caller has lost the permission: a problem document."""
    _, body, _ = problem_of(refusal)
    return _message("error", body | {"instance": path})


def _message(kind: str, document: Document, event_id: str | None = None) -> str:
    """Return a message; JSON has no raw line breaks, so data cannot forge a field."""
    identity = f"id: {event_id}\n" if event_id else ""
    return f"event: {kind}\n{identity}data: {json.dumps(document)}\n\n"
