"""`agentpool pause` and `agentpool resume`: stop and restart claims of a pool, which accepts jobs meanwhile."""

from __future__ import annotations

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import kubeconfig

MANAGER = "agentpool-cli"  # field manager of the command line's changes
EPILOG = (
    """\b
Examples:
  agentpool pause --pool research/analysts
  agentpool resume --pool research/analysts

The command sets spec.paused of the AgentPool, found through the kubeconfig,
and needs no Redis. A pool without an AgentPool, or without a kubeconfig, is
paused at its queue. Running jobs finish."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@pool_options
def pause(*, target: Target) -> None:
    """Stop a pool from starting jobs; it still accepts new jobs."""
    run(_set(target, paused=True))


@click.command(epilog=EPILOG)
@pool_options
def resume(*, target: Target) -> None:
    """Let a paused pool start jobs again."""
    run(_set(target, paused=False))


async def _set(target: Target, *, paused: bool) -> None:
    done, value = ("paused", "true") if paused else ("resumed", "false")
    asked = bool(kubeconfig.files())
    if asked and await _set_in_cluster(target.pool, paused=paused):
        say(f"pool {target.pool} {done} (spec.paused of its AgentPool is {value})")
        return
    await _set_in_queue(target, paused=paused)
    reason = "the cluster has no AgentPool of this name" if asked else "without a kubeconfig, no cluster was asked"
    say(f"pool {target.pool} {done} (in its queue: {reason})")


async def _set_in_cluster(pool: PoolRef, *, paused: bool) -> bool:
    from agentpool_core.kube.connection import open_cluster
    from agentpool_core.pausing import set_spec_paused

    async with open_cluster() as cluster:
        return await set_spec_paused(pool, paused=paused, cluster=cluster, manager=MANAGER)


async def _set_in_queue(target: Target, *, paused: bool) -> None:
    from agentpool_core.pausing import set_queue_paused
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        await set_queue_paused(target.pool, paused=paused, inspector=Inspector(redis))
