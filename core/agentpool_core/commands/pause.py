"""`agentpool pause` and `agentpool resume`: stop and restart claims of a pool, which accepts jobs meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.target import Target, pool_options

MANAGER = "agentpool-cli"  # field manager of the command line's changes
EPILOG = (
    """\b
Examples:
  agentpool pause --pool research/analysts
  agentpool resume --pool research/analysts

The command sets spec.paused of the AgentPool, found through the kubeconfig. A
pool without an AgentPool is paused at its queue. Running jobs finish."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@pool_options
def pause(*, target: Target) -> None:
    """Let a pool start no more jobs; it goes on taking them."""
    run(_set(target, paused=True))


@click.command(epilog=EPILOG)
@pool_options
def resume(*, target: Target) -> None:
    """Let a paused pool go on."""
    run(_set(target, paused=False))


async def _set(target: Target, *, paused: bool) -> None:
    from agentpool_core.kube import kubeconfig
    from agentpool_core.kube.connection import open_cluster
    from agentpool_core.pausing import set_paused
    from agentpool_core.queue.inspector import Inspector

    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster()) if kubeconfig.files() else None
        inspector = Inspector(await stack.enter_async_context(open_redis(target)))
        pool = target.pool
        declared = await set_paused(pool, paused=paused, cluster=cluster, inspector=inspector, manager=MANAGER)
    done, value = ("paused", "true") if paused else ("resumed", "false")
    where = f"spec.paused of its AgentPool is {value}" if declared else "in its queue, without an AgentPool"
    say(f"pool {pool} {done} ({where})")
