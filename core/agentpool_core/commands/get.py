"""`agentpool get`: jobs, pools, workers and schedules in the manner of `kubectl get`; a named job with its history."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.fleet import Fleet, Scope, open_fleet, scope_options
from agentpool_core.cli.job_tables import HEADERS, WIDE_HEADERS, end_of, history_table, job_row, steps_table, usage_text
from agentpool_core.cli.output import EXIT_CODES, Format, Output, emit, output_option, table
from agentpool_core.cli.queue_tables import WORKER_HEADERS
from agentpool_core.cli.rows import (
    POOL_HEADERS,
    SCHEDULE_HEADERS,
    WIDE_POOL_HEADERS,
    pool_row,
    schedule_row,
    worker_rows,
)
from agentpool_core.cli.selecting import note_cut, selector_options
from agentpool_core.cli.target import Target
from agentpool_core.cli.watching import Read, ReadOne, Row, show_rows, watch
from agentpool_core.documents import history_document, job_document
from agentpool_core.errors import UnknownJobError
from agentpool_core.jobs import Job, JobId, JobState, PoolRef
from agentpool_core.pending_reason import pending_reason
from agentpool_core.queue.selector import ENDED, LISTED, UNENDED
from agentpool_core.text import render_value

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector
    from agentpool_core.queue.snapshots import QueueSnapshot

JOBS, POOLS, WORKERS, SCHEDULES = "jobs", "pools", "workers", "schedules"
RESOURCES = {name: kind for kind in (JOBS, POOLS, WORKERS, SCHEDULES) for name in (kind, kind.removesuffix("s"))}
SHOWN = 100  # jobs of each state, except for names
_PASSED = (*reversed(UNENDED), *ENDED)  # the states of a job, in the order in which it passes them
EPILOG = (
    """\b
Examples:
  agentpool get jobs --pool research/analysts
  agentpool get jobs --state running -o name
  agentpool get jobs --state succeeded --tag nightly --submitted-after 2h
  agentpool get jobs --state all --kind summarize --count
  agentpool get jobs -A -w
  agentpool get jobs -o jsonpath='{range [*]}{.job_id} {.state}{"\\n"}{end}'
  agentpool get job 0193f6c2a1b-9f86d081 -o json
  agentpool get job 0193f6c2a1b-9f86d081 --history
  agentpool get pools -A -o wide
  agentpool get workers --pool research/analysts -w
  agentpool get schedules -A

The word "jobs" may be left out. A single job is shown with its durable steps;
`agentpool describe` shows more. Ended jobs are kept until their retention
ends: dead letters come oldest first, other ended jobs newest first."""
    + EXIT_CODES
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A wish for a list."""

    scope: Scope
    selector: JobSelector
    limit: int  # jobs of each state; 0: all
    names: tuple[str, ...]  # of pools or workers; none: all
    output: Output
    watched: bool

    @property
    def wide(self) -> bool:
        """Whether all columns are wanted."""
        return self.output is Format.WIDE

    async def show(self, headers: Sequence[str], read: Read, *, empty: str, read_gone: ReadOne | None = None) -> None:
        """Print the list, and go on with its changes if it is watched."""
        if self.watched:
            await watch(headers, read, self.output, read_gone=read_gone)
        show_rows(headers, await read(), self.output, empty=empty)


def complete_resources(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the resources that begin so."""
    return [CompletionItem(name) for name in (JOBS, POOLS, WORKERS, SCHEDULES) if name.startswith(incomplete)]


@click.command(epilog=EPILOG)
@click.argument("what", nargs=-1, metavar="[jobs|pools|workers|schedules] [NAME...]", shell_complete=complete_resources)
@scope_options
@selector_options(*UNENDED, *ENDED)
@click.option(
    "--limit", type=click.IntRange(min=0), help=f"Of each state; 0: all. Default: {SHOWN}, and all with -o name."
)
@click.option("--count", is_flag=True, help="Only the number of jobs.")
@click.option("--history", is_flag=True, help="What happened to the job, oldest first.")
@click.option("-w", "--watch", "watched", is_flag=True, help="Print what changes from then on, until Ctrl-C.")
@output_option
def get(
    *,
    what: tuple[str, ...],
    scope: Scope,
    selector: JobSelector,
    limit: int | None,
    count: bool,
    history: bool,
    watched: bool,
    output: Output,
) -> None:
    """Show jobs, pools, workers or schedules: those named, else all.

    Jobs without --state: those that wait, run or have failed.
    """
    resource = RESOURCES.get(what[0]) if what else None
    names = what[1:] if resource else what
    most = (SHOWN if output is not Format.NAME else 0) if limit is None else limit
    chosen = replace(selector, states=selector.states or LISTED)
    query = Query(scope=scope, selector=chosen, limit=most, names=names, output=output, watched=watched)
    if resource in LISTS:
        if history or count or limit is not None or not selector.is_empty:
            raise click.UsageError(f"the options that select jobs have no meaning for {resource}; leave them out")
        run(LISTS[resource](query))
    elif names:
        if count or watched or scope.everywhere or not selector.is_empty:
            raise click.UsageError("name JOBs, or select them, not both")
        _show_named(names, scope.one(), output, history=history)
    elif history:
        raise click.UsageError("--history needs exactly one JOB")
    else:
        run(_count(query) if count else _jobs(query))


async def _pools(query: Query) -> None:
    only = query.scope.one() if query.scope.pool else None
    async with open_fleet(query.scope, only=only) as fleet:

        async def read() -> list[Row]:
            named = [reading for reading in await fleet.read() if _is_named(reading.pool, query.names)]
            return [pool_row(reading, wide=query.wide) for reading in named]

        headers = WIDE_POOL_HEADERS if query.wide else POOL_HEADERS
        await query.show(headers, read, empty=f"no such pools in {query.scope.of_namespace or 'any namespace'}")


def _is_named(pool: PoolRef, names: Sequence[str]) -> bool:
    return not names or pool.name in names or str(pool) in names


async def _workers(query: Query) -> None:
    everywhere = query.scope.everywhere
    async with open_fleet(query.scope, only=None if everywhere else query.scope.one()) as fleet:

        async def read() -> list[Row]:
            rows = [row for reading in await fleet.read() for row in worker_rows(reading, with_pool=everywhere)]
            return [row for row in rows if _is_wanted(row, query)]

        await query.show(("pool", *WORKER_HEADERS) if everywhere else WORKER_HEADERS, read, empty="no such workers")


async def _schedules(query: Query) -> None:
    everywhere = query.scope.everywhere
    async with open_fleet(query.scope, only=None if everywhere else query.scope.one()) as fleet:

        async def read() -> list[Row]:
            return [row for pool in await fleet.names() for row in await rows(pool) if _is_wanted(row, query)]

        async def rows(pool: PoolRef) -> list[Row]:
            states = await (await fleet.inspector(pool)).schedules(pool).list()
            return [schedule_row(state, pool, with_pool=everywhere) for state in states]

        headers = ("pool", *SCHEDULE_HEADERS) if everywhere else SCHEDULE_HEADERS
        await query.show(headers, read, empty="no such schedules")


def _is_wanted(row: Row, query: Query) -> bool:
    return not query.names or row.name in query.names


LISTS = {POOLS: _pools, WORKERS: _workers, SCHEDULES: _schedules}  # of all but jobs


async def _jobs(query: Query) -> None:
    everywhere = query.scope.everywhere
    async with open_fleet(query.scope, only=None if everywhere else query.scope.one()) as fleet:
        pools: dict[str, PoolRef] = {}  # by the keys of their rows

        async def read() -> list[Row]:
            rows = [row for pool in await fleet.names() for row in await _rows(fleet, pool, query, quiet=bool(pools))]
            pools.update({row.key: PoolRef.parse(row.document["pool"]) for row in rows})
            return rows

        async def read_gone(key: str) -> Row | None:
            inspector = await fleet.inspector(pools[key])
            try:
                job = await inspector.job(pools[key], JobId(key.rpartition(" ")[2]))
            except UnknownJobError:
                return None
            return _row(job, pools[key], (await inspector.snapshot(pools[key])).taken_at_ms, query)

        columns = WIDE_HEADERS if query.wide else HEADERS
        where = "any pool" if everywhere else f"pool {query.scope.one().pool}"
        headers = ("pool", *columns) if everywhere else columns
        await query.show(headers, read, empty=_no_jobs(query, where), read_gone=read_gone)


def _no_jobs(query: Query, where: str) -> str:
    """Return the text of an empty list: a list without chosen states leaves out most jobs that have ended."""
    if query.selector.states == LISTED:
        return f"no jobs that wait, run or have failed in {where}; --state all shows ended jobs too"
    return f"no such jobs in {where}"


async def _rows(fleet: Fleet, pool: PoolRef, query: Query, *, quiet: bool) -> list[Row]:
    """Return the selected jobs of a pool, with a note on a list that was cut, unless `quiet`.

    The states are read in the order in which a job passes them, so that a job that starts meanwhile is not missed.
    """
    inspector = await fleet.inspector(pool)
    now_ms = (await inspector.snapshot(pool)).taken_at_ms
    found: dict[JobId, tuple[int, Job]] = {}
    for state in sorted(query.selector.states, key=_PASSED.index):
        one, limit = replace(query.selector, states=(state,)), query.limit or sys.maxsize
        page = await inspector.find(pool, one, limit=limit, bodies=query.output.shows_documents)
        found |= {job.job_id: (query.selector.states.index(state), job) for job in page.jobs}
        if page.cursor is not None and not quiet:
            note_cut(len(page.jobs), f"state {state}" + (f" in pool {pool}" if query.scope.everywhere else ""))
    return [_row(job, pool, now_ms, query) for _, job in sorted(found.values(), key=itemgetter(0))]


def _row(job: Job, pool: PoolRef, now_ms: int, query: Query) -> Row:
    cells = (*((str(pool),) if query.scope.everywhere else ()), *job_row(job, now_ms, wide=query.wide))
    steady = (job.state, job.attempt, job.worker, job.cancel_requested)
    document = job_document(job, pool)
    return Row(key=f"{pool} {job.job_id}", cells=cells, document=document, name=job.job_id, steady=steady)


async def _count(query: Query) -> None:
    everywhere, number = query.scope.everywhere, 0
    async with open_fleet(query.scope, only=None if everywhere else query.scope.one()) as fleet:
        for pool in await fleet.names():
            number += await (await fleet.inspector(pool)).select(pool, query.selector).count()
    emit(query.output, {"count": number}, names=[str(number)], text=str(number))


def _show_named(names: Sequence[str], target: Target, output: Output, *, history: bool) -> None:
    if history and len(names) != 1:
        raise click.UsageError("--history needs exactly one JOB")
    jobs, queue = run(_read_named(target, [JobId(name) for name in names]))
    if history:
        entries = history_document(jobs[0])
        emit(output, entries, names=[entry["type"] for entry in entries], text=history_table(jobs[0]))
        return
    wide = output is Format.WIDE
    documents = [job_document(job, target.pool) for job in jobs]
    rows = [job_row(job, queue.taken_at_ms, wide=wide) for job in jobs]
    text = table(WIDE_HEADERS if wide else HEADERS, rows)
    if len(jobs) == 1:
        documents[0]["history"] = history_document(jobs[0])
        text += "".join(f"\n\n{part}" for part in _below(jobs[0], queue))
    emit(output, documents[0] if len(jobs) == 1 else documents, names=[job.job_id for job in jobs], text=text)


async def _read_named(target: Target, ids: Sequence[JobId]) -> tuple[list[Job], QueueSnapshot]:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue = await inspector.snapshot(target.pool)
        return [await inspector.job(target.pool, job_id) for job_id in ids], queue


def _below(job: Job, queue: QueueSnapshot) -> list[str]:
    """Return the paragraphs below the table of a single job."""
    why = pending_reason(job, queue)
    return [
        *([f"{'waiting' if job.state is JobState.WAITING else 'not started'}: {why}"] if why else []),
        *end_of(job),
        *([steps_table(job)] if job.steps else []),
        *([f"usage: {used}"] if (used := usage_text(job)) else []),
        *(f"{name} cannot be read: {render_value(raw)}" for name, raw in job.undecodable.items()),
    ]
