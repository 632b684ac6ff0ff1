"""The calls of the tools: each takes an admitted call with valid arguments and returns a document.

`server` checks permission and arguments before, and turns errors into tool errors after. Failed jobs of a kind's tool
are errors of that tool, so that an agent notices them; a job that only takes longer is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus

from agentpool_core.documents import (
    Document,
    chunk_document,
    job_document,
    queue_document,
    receipt_document,
    request_from,
    schedule_document,
    schedule_from,
    summary_document,
)
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Job, JobId, JobRequest, JobState, Json, PoolRef, Receipt
from agentpool_core.process.cancellation import run_until_first_end
from agentpool_core.queue.chunks import START, Chunk
from agentpool_core.queue.schedules import Schedules
from agentpool_core.queue.selector import LISTED
from agentpool_core.queue.usage_totals import DEFAULT_COLUMNS, UsageQuery
from agentpool_core.queue.webhook_submits import Submission
from agentpool_core.text import first_line_of
from agentpool_core.usage_documents import totals_document
from agentpool_gateway.access.admission import Admission
from agentpool_gateway.access.conflicts import check_conflicts
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.mcp.waiting import WAIT_SECONDS, Report, wait_for_end
from agentpool_gateway.routes.long_polling import job_at_rest
from agentpool_gateway.routes.selection import conditions_of

MOST_CHUNKS = 200  # of an answer: an agent reads them all
PAGE, MOST_LISTED = 20, 100  # jobs of a list: an agent reads them all
_GOES_ON = "the job goes on; call wait_for_job with this job_id"
_ASKS = "the job waits for a signal; send it with signal_job, then call wait_for_job with this job_id"
_UNREADABLE = "the caller may submit and not read; a caller with the verb read gets the outcome"


class JobFailedError(AgentPoolError):
    """The job of a kind's tool ended without a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """An admitted call of a tool."""

    admission: Admission
    arguments: Mapping[str, Json]
    report: Report | None  # None: the caller wants no progress
    trace: Mapping[str, str]  # W3C headers of the request

    @property
    def job_id(self) -> JobId:
        """Return the job that the arguments name."""
        return JobId(self.arguments["job_id"])


async def run_kind(kind: str, call: Call) -> Document:
    """Submit a job with the arguments as payload, and wait for its result. Raises JobFailedError."""
    request = JobRequest(kind=kind, payload=dict(call.arguments), trace=call.trace)
    found = await _submit(call, request, WAIT_SECONDS)
    if found["ended"] and found["state"] != JobState.SUCCEEDED:
        why = found["error"] or found["reason"] or "no reason given"
        remedy = "get_job shows its record; call the tool again, or replay the job if it failed"
        raise JobFailedError(f"job {found['job_id']} ended as {found['state']}: {why}", remedy=remedy)
    return found


async def submit(call: Call) -> Document:
    """Submit a job of any kind; wait for its end if asked."""
    fields = dict(call.arguments)
    wait_s = float(fields.pop("wait_seconds", 0))
    return await _submit(call, request_from({"trace": call.trace, **fields}), wait_s)


async def _submit(call: Call, request: JobRequest, wait_s: float) -> Document:
    admission = call.admission
    await check_conflicts(admission, [Submission(request)])
    receipt = await admission.queue.producer.submit(request)
    admission.gateway.metrics.count_submitted(admission.pool, [receipt])
    if not await admission.may_read():
        return _of_receipt(receipt, hint=_UNREADABLE)
    if wait_s <= 0:
        return _of_receipt(receipt, hint=_GOES_ON)
    job = await wait_for_end(admission, receipt.job_id, wait_s, call.report)
    return outcome_of(job) | {"duplicate": receipt.duplicate}


async def get_job(call: Call) -> Document:
    """Return a job's record."""
    admission = call.admission
    return job_document(await admission.queue.inspector.job(admission.pool, call.job_id), admission.pool)


async def wait_for_job(call: Call) -> Document:
    """Return a job's outcome, after its end or after the wait."""
    wait_s = float(call.arguments.get("wait_seconds", WAIT_SECONDS))
    return outcome_of(await wait_for_end(call.admission, call.job_id, wait_s, call.report))


async def list_jobs(call: Call) -> Document:
    """Return a page of the selected jobs; without `state` of those that wait, run or are dead."""
    return await _list(call, tuple(JobState(state) for state in call.arguments.get("state", ())) or LISTED)


async def dead_letters(call: Call) -> Document:
    """Return a page of the selected dead letters, oldest first."""
    return await _list(call, (JobState.FAILED,))


async def cancel_job(call: Call) -> Document:
    """Cancel a job. Raises ProblemError for a job that has ended."""
    reason = call.arguments.get("reason", "requested")
    tree = call.arguments.get("tree", False)
    outcome = await call.admission.queue.producer.cancel(call.job_id, reason=reason, tree=tree)
    if outcome.value == "finished" and not tree:
        detail = f"job {call.job_id!r} had ended before"
        raise ProblemError(HTTPStatus.CONFLICT, "job-ended", detail, remedy="read its record with get_job")
    return {"job_id": call.job_id, "outcome": outcome.value}


async def signal_job(call: Call) -> Document:
    """Send a signal to a job."""
    name, value, signal_id = (call.arguments.get(field) for field in ("signal", "value", "signal_id"))
    outcome = await call.admission.queue.producer.signal(call.job_id, str(name), value, signal_id=signal_id)
    return {"job_id": call.job_id, "signal": str(name), "outcome": outcome.value}


async def read_output(call: Call) -> Document:
    """Return chunks of a job's output after a place; wait for the first one, or for the job's end."""
    admission, job_id = call.admission, call.job_id
    place, wait_s = call.arguments.get("after", START), float(call.arguments.get("wait_seconds", 0))
    job = await admission.queue.inspector.job(admission.pool, job_id)
    chunks = await _chunks_after(admission, job_id, place)
    if not chunks and not job.state.terminal and wait_s > 0:
        await _wait_for_chunk(admission, job_id, place, min(wait_s, admission.gateway.settings.max_wait_s))
        job = await admission.queue.inspector.job(admission.pool, job_id)
        chunks = await _chunks_after(admission, job_id, place)
    rows = [chunk_document(chunk) for chunk in chunks]
    return {"job_id": job_id, "chunks": rows, "after": chunks[-1].id if chunks else place, "ended": job.state.terminal}


async def _chunks_after(admission: Admission, job_id: JobId, place: str) -> list[Chunk]:
    found: list[Chunk] = []
    reading = admission.queue.output.after(job_id, place)
    async with aclosing(reading):
        async for chunk in reading:
            found.append(chunk)
            if len(found) >= MOST_CHUNKS:
                break
    return found


async def _wait_for_chunk(admission: Admission, job_id: JobId, place: str, wait_s: float) -> None:
    """Wait until the job has emitted, has ended or asks, at the longest until `wait_s` or the gateway's end."""

    async def first() -> None:
        async with aclosing(admission.queue.output_hub.chunks(job_id, place)) as chunks:
            await anext(chunks)

    async def rest() -> None:
        await job_at_rest(admission, job_id, wait_s)

    await run_until_first_end(first(), rest())


async def usage(call: Call) -> Document:
    """Return the usage of models that jobs have reported, of a range of days."""
    given, admission = dict(call.arguments), call.admission
    columns = tuple(dict.fromkeys(given.pop("by", None) or DEFAULT_COLUMNS))
    totals = await admission.queue.inspector.usage(admission.pool, UsageQuery(by=columns, **given))
    return totals_document(totals, columns, admission.pool)


async def schedules(call: Call) -> Document:
    """Return the pool's schedules, with their next and last runs."""
    return {"schedules": [schedule_document(state) for state in await _schedules(call).list()]}


async def put_schedule(call: Call) -> Document:
    """Create or replace a schedule that the AgentPool does not declare."""
    fields = dict(call.arguments)
    name = str(fields.pop("name"))
    await _schedules(call).put(schedule_from(name, fields))
    return {"name": name, "outcome": "stored"}


async def delete_schedule(call: Call) -> Document:
    """Delete a schedule that the AgentPool does not declare."""
    name = str(call.arguments["name"])
    await _schedules(call).delete(name)
    return {"name": name, "outcome": "deleted"}


async def pause_schedule(call: Call) -> Document:
    """Pause or resume a schedule."""
    name, paused = str(call.arguments["name"]), bool(call.arguments["paused"])
    await _schedules(call).pause(name, paused=paused)
    return {"name": name, "outcome": "paused" if paused else "resumed"}


def _schedules(call: Call) -> Schedules:
    return call.admission.queue.inspector.schedules(call.admission.pool)


async def queue(call: Call) -> Document:
    """Return the pool's queue."""
    return queue_document(await call.admission.queue.snapshot_with_history(), call.admission.pool)


async def replay(call: Call) -> Document:
    """Put a dead letter back into the queue."""
    downstream = call.arguments.get("downstream", False)
    await call.admission.queue.inspector.replay(call.admission.pool, call.job_id, downstream=downstream)
    return {"job_id": call.job_id, "outcome": "queued"}


async def _list(call: Call, states: tuple[JobState, ...]) -> Document:
    given, pool = call.arguments, call.admission.pool
    conditions = {name: value for name, value in given.items() if name not in {"state", "limit", "cursor"}}
    selector = replace(conditions_of(**conditions), states=states)
    page = await call.admission.queue.inspector.find(
        pool, selector, limit=given.get("limit", PAGE), cursor=given.get("cursor"), bodies=False
    )
    rows = [_row(job, pool) for job in page.jobs]
    return {"jobs": rows, "cursor": page.cursor}


def _row(job: Job, pool: PoolRef) -> Document:
    errors = {"error": first_line_of(job.error), "last_error": first_line_of(job.last_error)}
    return summary_document(job, pool) | errors


def outcome_of(job: Job) -> Document:
    """Return how a job ended, or how far it is."""
    found = {
        "job_id": job.job_id,
        "state": job.state.value,
        "ended": job.state.terminal,
        "result": job.result,
        "error": first_line_of(job.error),
        "reason": job.reason,
        "progress": job.progress,
    }
    if job.waits_for:
        return found | {"waits_for": list(job.waits_for), "question": job.question, "hint": _ASKS}
    return found if job.state.terminal else found | {"hint": _GOES_ON}


def _of_receipt(receipt: Receipt, *, hint: str) -> Document:
    kept = receipt_document(receipt)
    found = {name: kept[name] for name in ("job_id", "state", "duplicate", "queue_depth")}
    return {**found, "ended": receipt.state.terminal, "hint": hint}
