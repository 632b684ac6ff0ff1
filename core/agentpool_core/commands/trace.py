"""`agentpool trace`: submit the arrivals of a trace as jobs, at their own pace or faster.

A trace is a CSV file with a header and a column TIMESTAMP; the remaining columns become the payload. With columns
ContextTokens and GeneratedTokens (as in the Azure LLM inference traces), `seconds` is the service time of such a
request on a mid-size model on a GPU: 0.2 s + ContextTokens / 8000 + GeneratedTokens / 40, divided by the speed. The
file is streamed, so it may be of any size. `agentpool_core.queue.producer` takes over next.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.output import say, values
from agentpool_core.cli.progress import show_progress
from agentpool_core.cli.sending import send_slice
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.durations import format_duration
from agentpool_core.errors import SettingError
from agentpool_core.jobs import JobRequest, Priority
from agentpool_core.text import format_count

COLUMN = "TIMESTAMP"
CONTEXT, GENERATED = "ContextTokens", "GeneratedTokens"
START_SECONDS, CONTEXT_PER_SECOND, GENERATED_PER_SECOND = 0.2, 8_000, 40  # the model of a request's service time
TICK_SECONDS = 0.01  # arrivals that are closer than this go out together
MOST_AT_ONCE = 500
EPILOG = """\b
Examples:
  agentpool trace AzureLLMInferenceTrace_code.csv --pool research/analysts --speed 60
  agentpool trace trace.csv --kind summarize --duration 10m --priority info

Each job's payload holds the trace's columns, and `seconds` if the trace has token counts.

\b
Exit codes: 0 all sent, 1 refused, 2 wrong usage, 130 interrupted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A row of the trace."""

    at_s: float  # since the trace's first row, by the trace's own clock
    payload: dict[str, Any]


@dataclass(kw_only=True, slots=True)
class Sent:
    """Figures of the replay."""

    jobs: int = 0
    span_s: float = 0.0  # submitted part of the trace
    took_s: float = 0.0
    latest_s: float = 0.0  # how late the latest job was sent
    waits: int = 0  # times that the queue was full

    def wait(self) -> None:
        """Count a wait for a full queue."""
        self.waits += 1


@click.command(epilog=EPILOG)
@click.argument("trace", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="TRACE.csv")
@pool_options
@click.option("--kind", default="request", show_default=True, help="Of all jobs.")
@click.option("--priority", type=click.Choice(values(Priority)), default=Priority.TASK.value, show_default=True)
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="So many times as fast.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows.")
@click.option("--duration", "longest_ms", type=duration, help="Only so much of the trace's time, such as 10m.")
def trace(
    *,
    trace: Path,
    target: Target,
    kind: str,
    priority: str,
    speed: float,
    limit: int | None,
    longest_ms: int | None,
) -> None:
    """Submit a job for each request of a recorded TRACE, at its time."""
    longest_s = None if longest_ms is None else longest_ms / 1000
    total = sum(1 for _ in arrivals(trace, limit=limit, longest_s=longest_s))
    rows = arrivals(trace, limit=limit, longest_s=longest_s)
    template = JobRequest(kind=kind, priority=Priority(priority))
    sent = run(_replay(target, rows, total, template, speed))
    took, span = format_duration(sent.took_s * 1000), format_duration(sent.span_s * 1000)
    say(
        f"{format_count(sent.jobs, 'job')} submitted in {took}, {span} of the trace; "
        f"the latest was {format_duration(sent.latest_s * 1000)} late"
        + (f"; the queue was full {format_count(sent.waits, 'time')}" if sent.waits else "")
    )


def arrivals(trace: Path, *, limit: int | None = None, longest_s: float | None = None) -> Iterator[Arrival]:
    """Yield the rows of a trace, in order. Raises SettingError naming the line that cannot be read."""
    with trace.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if COLUMN not in (reader.fieldnames or ()):
            raise _refused(trace, 1, f"has no column {COLUMN}")
        first: datetime | None = None
        for number, row in enumerate(reader, start=2):
            if limit is not None and number - 2 >= limit:
                return
            at = _time(trace, number, row)
            first = first or at
            at_s = (at - first).total_seconds()
            if longest_s is not None and at_s > longest_s:
                return
            yield Arrival(at_s=at_s, payload={name: _number(text) for name, text in row.items() if name != COLUMN})


def service_seconds(payload: dict[str, Any], speed: float) -> float | None:
    """Return the service time of the request (see the module); None without token counts."""
    context, generated = payload.get(CONTEXT), payload.get(GENERATED)
    if not isinstance(context, int | float) or not isinstance(generated, int | float):
        return None
    return round((START_SECONDS + context / CONTEXT_PER_SECOND + generated / GENERATED_PER_SECOND) / speed, 4)


async def _replay(target: Target, rows: Iterator[Arrival], total: int, template: JobRequest, speed: float) -> Sent:
    from agentpool_core.queue.producer import Producer
    from agentpool_core.queue.webhook_submits import Submission, Submitter
    from agentpool_core.queue.webhooks import Webhooks

    sent = Sent()
    begun = time.monotonic()
    async with open_redis(target) as redis:
        submitter = Submitter(Producer(redis, target.pool), Webhooks(redis, target.pool))
        with show_progress(f"replaying at {speed:g}×", lambda: total) as progress:
            async for batch in _batches_due(rows, begun, speed):
                submissions = [Submission(_request(template, one, speed)) for one in batch]
                async for kept in send_slice(submitter, submissions, full=sent.wait):
                    sent.jobs += len(kept)
                    progress(len(kept))
                sent.span_s = batch[-1].at_s
                sent.latest_s = max(sent.latest_s, time.monotonic() - begun - batch[0].at_s / speed)
    sent.took_s = time.monotonic() - begun
    return sent


async def _batches_due(rows: Iterator[Arrival], begun: float, speed: float) -> AsyncIterator[list[Arrival]]:
    """Yield arrivals when due, those of a tick together."""
    batch: list[Arrival] = []
    for row in rows:
        wait_s = begun + row.at_s / speed - time.monotonic()
        if batch and (wait_s > TICK_SECONDS or len(batch) >= MOST_AT_ONCE):
            yield batch
            batch = []
            wait_s = begun + row.at_s / speed - time.monotonic()
        if wait_s > TICK_SECONDS:
            await asyncio.sleep(wait_s)
        batch.append(row)
    if batch:
        yield batch


def _request(template: JobRequest, arrival: Arrival, speed: float) -> JobRequest:
    seconds = service_seconds(arrival.payload, speed)
    payload = arrival.payload if seconds is None else {**arrival.payload, "seconds": seconds}
    return replace(template, payload=payload)


def _time(trace: Path, number: int, row: dict[str, str]) -> datetime:
    try:
        return datetime.fromisoformat(row[COLUMN])
    except (TypeError, ValueError) as error:
        raise _refused(
            trace, number, f"{COLUMN} is {row[COLUMN]!r}, not a time such as 2023-11-16 18:15:46.68"
        ) from error


def _number(text: str | None) -> int | float | str | None:
    """Return a cell as number or text."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text


def _refused(trace: Path, number: int, problem: str) -> SettingError:
    return SettingError(
        field=f"{trace}:{number}", value=None, problem=problem, remedy=f"give a CSV file with a header and {COLUMN}"
    )
