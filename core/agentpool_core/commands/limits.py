"""`agentpool limits`: the limits of a pool, and bounds of single keys and tenants that differ from the spec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.groups import Group
from agentpool_core.cli.output import EXIT_CODES, Output, emit, output_option, say, table
from agentpool_core.cli.queue_tables import limits_table
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import limit_document
from agentpool_core.queue.limits import Budget, Rate, RateUnit
from agentpool_core.queue.overrides import LARGEST_BUDGET

if TYPE_CHECKING:
    from agentpool_core.queue.overrides import Override
    from agentpool_core.queue.snapshots import QueueSnapshot

MS_PER_SECOND = 1000
EPILOG = (
    """\b
Examples:
  agentpool limits list --pool research/analysts
  agentpool limits set per-customer --key acme --max-running 10
  agentpool limits set team-starts --tenant research --rate 120/60s --burst 5
  agentpool limits set team-tokens --tenant research --tokens 90000/60s
  agentpool limits set team-budget --tenant acme --budget 250
  agentpool limits reset per-customer --key acme"""
    + EXIT_CODES
)
_RATE = re.compile(r"(\d{1,9})/(\d{1,5})s")


@click.group(cls=Group, epilog=EPILOG)
def limits() -> None:
    """List the limits of a pool, and set those of one key."""


def rate_of(text: str) -> tuple[int, int]:
    """Return count and period in milliseconds of `COUNT/SECONDSs`, such as 500/60s."""
    found = _RATE.fullmatch(text)
    if not found or not int(found[1]) or not int(found[2]):
        raise click.BadParameter(f"{text!r} is no rate; use COUNT/SECONDSs, such as 500/60s")
    return int(found[1]), int(found[2]) * MS_PER_SECOND


@limits.command("list")
@pool_options
@output_option
def list_(*, target: Target, output: Output) -> None:
    """List the limits, and the bounds of single keys and tenants."""
    snapshot, overrides = run(_read(target))
    rows = [(each.limit, each.subject, each.text, each.burst) for each in overrides]
    parts = [limits_table(snapshot) if snapshot.limits else "no limits beside those of the routes"]
    if rows:
        parts.append(table(("limit", "key or tenant", "bound", "burst"), rows))
    emit(
        output,
        {
            "limits": [limit_document(limit) for limit in snapshot.limits],
            "overrides": [
                {"limit": each.limit, "subject": each.subject, "bound": each.text, "burst": each.burst}
                for each in overrides
            ],
        },
        names=[limit.name for limit in snapshot.limits],
        text="\n\n".join(parts),
    )


@limits.command("set")
@click.argument("name")
@pool_options
@click.option("--key", help="Limit key of the bound.")
@click.option("--tenant", help="Tenant of the bound.")
@click.option("--max-running", type=click.IntRange(min=1), help="Jobs at once.")
@click.option("--rate", type=rate_of, metavar="COUNT/SECONDSs", help="Starts in a period, such as 500/60s.")
@click.option("--budget", type=click.IntRange(1, LARGEST_BUDGET), help="Money in a window of the limit.")
@click.option("--tokens", type=rate_of, metavar="COUNT/SECONDSs", help="Tokens in a period, such as 90000/60s.")
@click.option(
    "--burst",
    type=click.IntRange(min=1),
    help="At once after a pause, with --rate (default: 1 start) or --tokens (default: those of a period).",
)
def set_(
    *,
    name: str,
    target: Target,
    key: str | None,
    tenant: str | None,
    max_running: int | None,
    rate: tuple[int, int] | None,
    budget: int | None,
    tokens: tuple[int, int] | None,
    burst: int | None,
) -> None:
    """Set the bound of a limit for one key or tenant.

    NAME is the limit. The bound applies from the next start on, until it is reset.
    """
    subject = _subject(key, tenant)
    if sum(bound is not None for bound in (max_running, rate, tokens, budget)) != 1:
        raise click.UsageError("pass exactly one of --max-running, --rate, --tokens and --budget")
    bound: int | Rate | Budget | None = max_running
    if rate is not None:
        bound = Rate(count=rate[0], period_ms=rate[1], burst=burst or 1)
    elif tokens is not None:
        bound = Rate(count=tokens[0], period_ms=tokens[1], burst=burst or tokens[0], unit=RateUnit.TOKENS)
    elif budget is not None:
        bound = Budget(amount=budget)
    run(_override(target, name, subject, bound))
    say(f"limit {name} of {subject!r} is set")


@limits.command("reset")
@click.argument("name")
@pool_options
@click.option("--key", help="Limit key of the bound.")
@click.option("--tenant", help="Tenant of the bound.")
def reset(*, name: str, target: Target, key: str | None, tenant: str | None) -> None:
    """Let the bound in the AgentPool apply to the key or tenant again."""
    subject = _subject(key, tenant)
    changed = run(_override(target, name, subject, None))
    say(f"limit {name} of {subject!r} {'is reset' if changed else 'had no bound of its own'}")


def _subject(key: str | None, tenant: str | None) -> str:
    subject = key if tenant is None else tenant
    if subject is None or (key is not None and tenant is not None):
        raise click.UsageError("pass exactly one of --key and --tenant")
    return subject


async def _read(target: Target) -> tuple[QueueSnapshot, list[Override]]:
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.overrides import overrides

    async with open_redis(target) as redis:
        return await Inspector(redis).snapshot(target.pool), await overrides(redis, target.pool)


async def _override(target: Target, name: str, subject: str, bound: int | Rate | Budget | None) -> bool:
    from agentpool_core.queue.overrides import override

    async with open_redis(target) as redis:
        return await override(redis, target.pool, name, subject, bound)
