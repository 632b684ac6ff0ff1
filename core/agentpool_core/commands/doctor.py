"""`agentpool doctor`: check Redis, the pool and the cluster, and name a remedy for each problem.

Nothing is changed without `--repair`; the probe deletes its own keys. The checks are in `agentpool_core.doctor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentpool_core.cli.completion import complete_pools
from agentpool_core.cli.connection import reach, run
from agentpool_core.cli.kube_options import kube_options
from agentpool_core.cli.output import Output, emit, output_option
from agentpool_core.cli.target import Target, default_namespace, redis_from, redis_option
from agentpool_core.errors import AgentPoolError, QueueError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import kubeconfig

if TYPE_CHECKING:
    from agentpool_core.doctor.findings import Finding

EPILOG = """\b
Examples:
  agentpool doctor --redis redis://localhost:6379/0
  agentpool doctor --pool research/analysts
  agentpool doctor --pool research/analysts --repair
  agentpool doctor -o json | jq '.[] | select(.level != "ok")'

\b
Exit codes: 0 nothing is broken (warnings allowed), 1 something does not work, 2 wrong usage."""
SIGNS = {"ok": "✓", "note": "·", "warning": "!", "failure": "✗"}


@click.command(epilog=EPILOG)
@click.option(
    "-p",
    "--pool",
    metavar="[NAMESPACE/]NAME",
    envvar="AGENTPOOL_POOL",
    shell_complete=complete_pools,
    help="Check this AgentPool too.",
)
@click.option("-n", "--namespace", help="Its namespace.")
@click.option("--repair", is_flag=True, help="Resolve contradictions in the pool's queue; no worker needs to run.")
@redis_option
@kube_options
@output_option
def doctor(*, pool: str | None, namespace: str | None, repair: bool, redis: str | None, output: Output) -> int:
    """Check Redis, a pool and the cluster, and print remedies."""
    if repair and pool is None:
        raise click.UsageError("--repair needs --pool: only a pool's queue can be repaired.")
    named = PoolRef.parse(pool, default_namespace=namespace or default_namespace()) if pool else None
    findings = run(_examine(named, redis_from(redis), repair=repair))
    documents = [{"check": f.check, "level": f.level.value, "found": f.found, "remedy": f.remedy} for f in findings]
    emit(output, documents, names=[f.check for f in findings], text="\n".join(map(_line, findings)))
    return 1 if any(f.level.value == "failure" for f in findings) else 0


def _line(finding: Finding) -> str:
    line = f"{SIGNS[finding.level.value]} {finding.check}: {finding.found}"
    return f"{line}\n    → {finding.remedy}" if finding.remedy else line


async def _examine(pool: PoolRef | None, redis_url: str | None, *, repair: bool) -> list[Finding]:
    from agentpool_core.doctor import cluster

    findings = await _examine_redis(pool, redis_url, repair=repair)
    if not kubeconfig.files():
        return [*findings, _no_kubeconfig()]
    return [*findings, *[finding async for finding in cluster.examine()]]


def _no_kubeconfig() -> Finding:
    """Return a finding: a missing default kubeconfig is fine, a missing named kubeconfig is a mistake."""
    from agentpool_core.doctor.findings import note, warning

    missing = kubeconfig.missing()
    if missing is None:
        return note("kubernetes", "no kubeconfig", "set KUBECONFIG to check the cluster too")
    return warning("kubernetes", f"KUBECONFIG names {missing}, which does not exist", "correct KUBECONFIG, or unset it")


async def _examine_redis(pool: PoolRef | None, redis_url: str | None, *, repair: bool) -> list[Finding]:
    from agentpool_core.doctor import pool as pool_checks
    from agentpool_core.doctor import redis as redis_checks
    from agentpool_core.doctor.findings import failure_of, note
    from agentpool_core.queue.connection.client import connect

    if redis_url is None and pool is None:
        return [note("redis", "no URL", "pass --redis URL or --pool NAMESPACE/NAME to check Redis too")]
    try:
        redis = await Target(pool=pool, redis=redis_url).connect() if pool else connect(str(redis_url))
    except AgentPoolError as error:
        return [failure_of("redis", error)]
    try:
        try:
            await reach(redis)
        except QueueError as error:
            return [failure_of("redis", error)]
        findings = [finding async for finding in redis_checks.examine(redis, pool)]
        if pool is not None:
            findings += [finding async for finding in pool_checks.examine(redis, pool, repair=repair)]
    finally:
        await redis.aclose()
    return findings
