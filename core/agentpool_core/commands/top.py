"""`agentpool top`: a pool's queue, live: rates, bars by route and priority, a cell for each slot of each worker.

With `-A`, or without a pool, it shows a line for each pool, with its desired and allowed workers.

On a terminal the screen is redrawn with `rich` (the extra `cli`); piped, or with `--once`, the command prints plain
lines. An unreachable Redis is shown as such, with the last figures kept and marked.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.fleet import PoolReading, Scope, open_fleet, scope_options
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.queue_tables import headline, routes_table, workers_table
from agentpool_core.cli.rows import pools_table
from agentpool_core.cli.target import Target
from agentpool_core.errors import QueueUnreachableError, SettingError
from agentpool_core.queue.snapshots import QueueSnapshot

if TYPE_CHECKING:
    from agentpool_core.queue.history import PoolHistory

EPILOG = (
    """\b
Examples:
  agentpool top --pool research/analysts
  agentpool top --every 5s --once
  agentpool top -A                               all pools
  agentpool top -n research                      the pools of a namespace

Ctrl-C ends it."""
    + EXIT_CODES
)
LEAST_EVERY_MS = 100


@click.command(epilog=EPILOG)
@scope_options
@click.option("--every", type=duration, default="1s", show_default=True, help="Time between readings.")
@click.option("--once", is_flag=True, help="Print two readings' difference once, and end.")
def top(*, scope: Scope, every: int, once: bool) -> None:
    """Watch a pool live, or all pools."""
    if every < LEAST_EVERY_MS:
        raise SettingError(
            field="--every", value=f"{every}ms", problem="too often", remedy=f"use {LEAST_EVERY_MS}ms or more"
        )
    live = not once and sys.stdout.isatty()
    if scope.names_pool:
        run(_live(scope.one(), every) if live else _plain(scope.one(), every, once=once))
    else:
        run(_live_pools(scope, every) if live else _plain_pools(scope, every, once=once))


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
    from agentpool_core.queue.history import PoolHistory

    async with open_redis(target) as redis:
        history = PoolHistory(redis, target.pool)
        before = await history.snapshot()
        while True:
            await asyncio.sleep(every_ms / 1000)
            now = await history.snapshot()
            say("\n".join((headline(now), rates(before, now), "", routes_table(now), "", workers_table(now))))
            before = now
            if once:
                return


async def _plain_pools(scope: Scope, every_ms: int, *, once: bool) -> None:
    async with open_fleet(scope) as fleet:
        before = await fleet.read()
        while True:
            await asyncio.sleep(every_ms / 1000)
            now = await fleet.read()
            say(pools_table(before, now))
            before = now
            if once:
                return


async def _live_pools(scope: Scope, every_ms: int) -> None:
    from agentpool_core.cli.top_screen import open_screen, plain_screen

    async with open_fleet(scope) as fleet:
        before: list[PoolReading] = []
        with open_screen() as display:
            while True:
                now = await fleet.read()
                display.update(plain_screen(pools_table(before, now)), refresh=True)
                before = now
                await asyncio.sleep(every_ms / 1000)


async def _live(target: Target, every_ms: int) -> None:
    from agentpool_core.cli.top_screen import open_screen, screen
    from agentpool_core.queue.history import PoolHistory

    async with open_redis(target) as redis:
        history = PoolHistory(redis, target.pool)
        before, now = None, await history.snapshot()
        with open_screen() as display:
            while True:
                display.update(screen(target.pool, now, rates(before, now), trouble=None), refresh=True)
                await asyncio.sleep(every_ms / 1000)
                before, now = await _refresh(history, target, display, now)


async def _refresh(
    history: PoolHistory, target: Target, display: Any, last: QueueSnapshot
) -> tuple[QueueSnapshot | None, QueueSnapshot]:
    """Return the last reading and a new reading; while Redis does not answer, the old figures stay, marked as old."""
    from agentpool_core.cli.top_screen import screen

    while True:
        try:
            return last, await history.snapshot()
        except QueueUnreachableError as error:
            display.update(screen(target.pool, last, "unknown", trouble=str(error)), refresh=True)
            await asyncio.sleep(1)
