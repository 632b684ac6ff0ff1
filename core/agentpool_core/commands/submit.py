"""`agentpool submit`: a job from the arguments, or many jobs from an NDJSON file.

Prints the job's id, so that `JOB=$(agentpool submit …)` works; with `--wait`, the result. Many jobs go in slices, so a
file of any size needs little memory, and a full queue is waited for. `agentpool_core.queue.producer` takes over next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.output import Output, emit, output_option, say, table, values
from agentpool_core.cli.payloads import count_of, payload_of, submissions_of
from agentpool_core.cli.progress import show_progress
from agentpool_core.cli.sending import send_slice
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.cli.waiting import TIMEOUT_EXIT, UNSUCCESSFUL_EXIT, wait_and_show
from agentpool_core.documents import receipt_document
from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import AfterCondition, Durability, JobId, JobRequest, OnConflict, Priority, Receipt
from agentpool_core.queue.webhook_submits import Submission, Submitter
from agentpool_core.text import format_count
from agentpool_core.webhook_documents import webhook_of

if TYPE_CHECKING:
    from agentpool_core.queue.webhooks import Webhook

JOBS_A_SLICE = 500  # read, sent and printed together
EPILOG = f"""\b
Examples:
  agentpool submit summarize '{{"path": "README.md"}}' --pool research/analysts
  agentpool submit code @request.json --priority critical --wait
  agentpool submit report --after $FIRST --after $SECOND
  agentpool submit --file jobs.ndjson              each line is a job
  cat payloads.ndjson | agentpool submit summarize --file -

\b
Exit codes: 0 accepted (with --wait: succeeded), 1 refused, 2 wrong usage, {UNSUCCESSFUL_EXIT} ended without a
result, {TIMEOUT_EXIT} not ended within --wait-timeout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Requested output."""

    many: bool  # jobs from a file: report all of them together
    wait: bool  # until they end
    timeout_ms: int | None  # longest wait; None: no limit
    output: Output


@click.command(epilog=EPILOG)
@click.argument("kind", required=False)
@click.argument("payload", required=False)
@pool_options
@click.option("-f", "--file", metavar="FILE", help="NDJSON: a job a line, or with KIND a payload a line.")
@click.option("--priority", type=click.Choice(values(Priority)), default=Priority.TASK.value, show_default=True)
@click.option("--key", "idempotency_key", help="Idempotency key: the same key and body return the first job.")
@click.option(
    "--on-conflict",
    type=click.Choice(values(OnConflict)),
    default=OnConflict.REFUSE.value,
    show_default=True,
    help="With an earlier job of the key: refuse a different body, keep that job, replace it unless it has started, "
    "or cancel it although it runs.",
)
@click.option("--id", "job_id", help="The job's id. Default: one is made.")
@click.option("--limit-key", help="Limits by key apply to all jobs with the same text together.")
@click.option("--tenant", help="Limits by tenant apply to all jobs of the tenant together.")
@click.option(
    "--tokens", type=click.IntRange(min=0), help="Tokens that the job is expected to use. Default: its route's."
)
@click.option("--after", multiple=True, metavar="JOB", help="Wait for this job to end. May be repeated.")
@click.option(
    "--after-condition",
    type=click.Choice(values(AfterCondition)),
    default=AfterCondition.SUCCEEDED.value,
    show_default=True,
    help="The job starts if the jobs of --after end like this; else it is cancelled.",
)
@click.option(
    "--delay", "delay_ms", type=duration, default="0s", help="Time from now to the earliest start, such as 30s."
)
@click.option("--ttl", "ttl_ms", type=duration, help="Longest wait for the start. Default: the pool's.")
@click.option("--timeout", "timeout_ms", type=duration, help="Longest run of one attempt. Default: the pool's.")
@click.option("--max-attempts", type=click.IntRange(min=1), help="Default: the pool's.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label to find the job by. May be repeated.")
@click.option("--preemptible", is_flag=True, help="May be asked to yield to a critical job at a checkpoint.")
@click.option(
    "--durability",
    type=click.Choice(values(Durability)),
    help="Return once the job is on the primary's disk (fsync) or on a replica. Default: the pool's.",
)
@click.option(
    "--webhook",
    metavar="URL",
    help="A gateway sends the end of each job to this address, if the gateway's owner allows its host.",
)
@click.option("--wait", is_flag=True, help="Wait for the end, and print the result.")
@click.option("--wait-timeout", type=duration, help="Give up waiting after this long; the job goes on.")
@output_option
def submit(
    *,
    kind: str | None,
    payload: str | None,
    target: Target,
    file: str | None,
    durability: str | None,
    webhook: str | None,
    wait: bool,
    wait_timeout: int | None,
    output: Output,
    **fields: Any,
) -> int:
    """Submit a job of KIND. PAYLOAD is JSON, `@FILE`, or `-` for standard input."""
    jobs = _jobs(kind, payload, file, fields)
    hook = None if webhook is None else webhook_of(webhook)
    answer = Answer(
        many=file is not None,
        wait=wait or wait_timeout is not None,
        timeout_ms=wait_timeout,
        output=output,
    )
    return run(_submit(target, Durability(durability) if durability else None, _with_webhook(jobs, hook), file, answer))


def _jobs(
    kind: str | None, payload: str | None, file: str | None, fields: dict[str, Any]
) -> Iterator[tuple[str, Submission]]:
    """Return the jobs, each with its place in messages."""
    template = None if kind is None else _template(kind, fields)
    if file is not None:
        if payload is not None or fields["idempotency_key"] or fields["job_id"]:
            raise click.UsageError("--file brings many jobs; put payload, idempotency_key and job_id into its lines")
        return submissions_of(file, template)
    if template is None:
        raise click.UsageError("name the KIND of the job, or pass --file with a job a line")
    return iter([("KIND", Submission(replace(template, payload=payload_of(payload))))])


def _with_webhook(jobs: Iterator[tuple[str, Submission]], webhook: Webhook | None) -> Iterator[tuple[str, Submission]]:
    """Yield the jobs; those without a webhook of their own get this one."""
    for place, submission in jobs:
        yield place, submission._replace(webhook=submission.webhook or webhook)


def _template(kind: str, fields: dict[str, Any]) -> JobRequest:
    after = tuple(JobId(job_id) for job_id in fields.pop("after"))
    priority = Priority(fields.pop("priority"))
    after_condition = AfterCondition(fields.pop("after_condition"))
    fields["on_conflict"] = OnConflict(fields["on_conflict"])
    return JobRequest(kind=kind, after=after, priority=priority, after_condition=after_condition, **fields)


async def _submit(
    target: Target,
    durability: Durability | None,
    jobs: Iterator[tuple[str, Submission]],
    file: str | None,
    answer: Answer,
) -> int:
    from agentpool_core.queue.producer import Producer
    from agentpool_core.queue.webhooks import Webhooks

    async with open_redis(target) as redis:
        producer, webhooks = Producer(redis, target.pool, durability=durability), Webhooks(redis, target.pool)
        if file is not None:
            receipts = await _send_file(Submitter(producer, webhooks), jobs, file)
        else:
            _place, (request, webhook) = next(jobs)
            receipts = [await producer.submit(request)]
            if webhook is not None:
                await webhooks.put(receipts[0].job_id, webhook)
        ids = [receipt.job_id for receipt in receipts]
        if answer.wait:
            return await wait_and_show(redis, target.pool, ids, answer.timeout_ms, answer.output)
    _show(receipts, answer)
    return 0


async def _send_file(submitter: Submitter, jobs: Iterator[tuple[str, Submission]], file: str) -> list[Receipt]:
    """Submit the whole file slice by slice; wait while the queue is full."""
    receipts: list[Receipt] = []
    with show_progress("submitting", lambda: count_of(file)) as progress:
        while batch := list(islice(jobs, JOBS_A_SLICE)):
            try:
                async for kept in send_slice(submitter, [submission for _place, submission in batch]):
                    receipts += kept
                    progress(len(kept))
            except InvalidJobError as error:
                place = file if error.index is None else batch[error.index][0]
                raise _refused(place, error, kept=len(receipts) + len(error.accepted)) from error
    return receipts


def _refused(place: str, error: InvalidJobError, *, kept: int) -> InvalidJobError:
    """Return the error in terms of the file: its line, and the state of the remaining jobs."""
    remedy = f"{error.remedy}; {f'submitted before it: {kept}' if kept else 'nothing was submitted'}"
    return InvalidJobError(field=f"{place}: {error.field}", value=error.value, problem=error.problem, remedy=remedy)


def _show(receipts: Sequence[Receipt], answer: Answer) -> None:
    documents = [receipt_document(receipt) for receipt in receipts]
    ids = [receipt.job_id for receipt in receipts]
    if answer.many and answer.output.is_table:
        duplicates = sum(receipt.duplicate for receipt in receipts)
        known = f"{duplicates} of them {'was' if duplicates == 1 else 'were'} known already"
        say(f"{format_count(len(receipts), 'job')} submitted, {known}")
        return
    rows = [(r.job_id, r.state, "yes" if r.duplicate else "no", r.queue_depth) for r in receipts]
    shown = table(("job", "state", "duplicate", "depth"), rows)
    emit(answer.output, documents if answer.many else documents[0], names=ids, text=shown)
