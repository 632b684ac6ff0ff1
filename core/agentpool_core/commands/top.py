"""`agentpool top`: a pool's queue, live: rates, bars by route and priority, a cell for each slot of each worker.

On a terminal the screen is redrawn with `rich` (the extra `cli`); piped, or with `--once`, the command prints plain
lines. An unreachable Redis is shown as such, with the last figures kept and marked.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.queue_tables import headline, routes_table, workers_table
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.errors import QueueUnreachableError, SettingError
from agentpool_core.queue.snapshots import QueueSnapshot

EPILOG = (
    """\b
Examples:
  agentpool top --pool research/analysts
  agentpool top --every 5s --once

Ctrl-C ends it."""
    + EXIT_CODES
)
LEAST_EVERY_MS = 100


@click.command(epilog=EPILOG)
@pool_options
@click.option("--every", type=duration, default="1s", show_default=True, help="Time between readings.")
@click.option("--once", is_flag=True, help="Print two readings' difference once, and end.")
def top(*, target: Target, every: int, once: bool) -> None:
    """Watch a pool live."""
    if every < LEAST_EVERY_MS:
        raise SettingError(
            field="--every", value=f"{every}ms", problem="too often", remedy=f"use {LEAST_EVERY_MS}ms or more"
        )
    if once or not sys.stdout.isatty():
        run(_plain(target, every, once=once))
    else:
        run(_live(target, every))


def rates(before: QueueSnapshot | None, now: QueueSnapshot) -> str:
    """Return the jobs per second between two readings; unknown before the second reading."""
    if before is None or now.taken_at_ms <= before.taken_at_ms:
        return "measuring"
    seconds = (now.taken_at_ms - before.taken_at_ms) / 1000
    pairs = {
        "submitted": now.submitted_total - before.submitted_total,
        "started": now.started_total - before.started_total,
        "finished": now.finished_total - before.finished_total,
    }
    return ", ".join(f"{count / seconds:.1f} {word}/s" for word, count in pairs.items())


async def _plain(target: Target, every_ms: int, *, once: bool) -> None:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        before = await inspector.snapshot(target.pool)
        while True:
            await asyncio.sleep(every_ms / 1000)
            now = await inspector.snapshot(target.pool)
            say("\n".join((headline(now), rates(before, now), "", routes_table(now), "", workers_table(now))))
            before = now
            if once:
                return


async def _live(target: Target, every_ms: int) -> None:
    from agentpool_core.cli.top_screen import open_screen, screen
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        before, now = None, await inspector.snapshot(target.pool)
        with open_screen() as display:
            while True:
                display.update(screen(target.pool, now, rates(before, now), trouble=None), refresh=True)
                await asyncio.sleep(every_ms / 1000)
                before, now = await _refresh(inspector, target, display, now)


async def _refresh(
    inspector: Any, target: Target, display: Any, last: QueueSnapshot
) -> tuple[QueueSnapshot | None, QueueSnapshot]:
    """Return the last reading and a new reading; while Redis does not answer, the old figures stay, marked as old."""
    from agentpool_core.cli.top_screen import screen

    while True:
        try:
            return last, await inspector.snapshot(target.pool)
        except QueueUnreachableError as error:
            display.update(screen(target.pool, last, "unknown", trouble=str(error)), refresh=True)
            await asyncio.sleep(1)
