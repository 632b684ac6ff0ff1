"""`agentpool wait`: wait until jobs have ended; the exit code reports their outcome, for scripts.

Shares `agentpool_core.cli.waiting` with `submit --wait`.
"""

from __future__ import annotations

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.output import Output, output_option
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.cli.waiting import TIMEOUT_EXIT, UNSUCCESSFUL_EXIT, wait_and_show
from agentpool_core.jobs import JobId

EPILOG = f"""\b
Examples:
  agentpool wait 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool wait $A $B --timeout 10m && echo both succeeded

\b
Exit codes: 0 all succeeded, 1 could not be asked, 2 wrong usage, {UNSUCCESSFUL_EXIT} one ended without a result,
{TIMEOUT_EXIT} not all ended within --timeout."""


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@pool_options
@click.option("--timeout", type=duration, help="Give up after this long, such as 10m. Default: never.")
@output_option
def wait(*, jobs: tuple[str, ...], target: Target, timeout: int | None, output: Output) -> int:
    """Wait until jobs have ended.

    Prints the result of a single job, or the outcomes of many.
    """
    return run(_wait(target, list(dict.fromkeys(map(JobId, jobs))), timeout, output))


async def _wait(target: Target, ids: list[JobId], timeout_ms: int | None, output: Output) -> int:
    async with open_redis(target) as redis:
        return await wait_and_show(redis, target.pool, ids, timeout_ms, output)
