"""Completions: pool names, and the answers that kubectl asks for.

A completion never prints an error and never waits long: the user is typing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete

from agentpool_core.errors import AgentPoolError

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef

WITHIN_SECONDS = 2.0
NO_FILES, FILES = ":4", ":0"  # the last line of an answer to kubectl: whether the shell completes file names


def complete_pools(context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the pools that begin so: by name in the namespace in use, else with their namespace."""
    from agentpool_core.cli.target import default_namespace, redis_from

    given: dict[str, Any] = context.params
    namespace = given.get("namespace") or default_namespace()
    try:
        pools = asyncio.run(_pools(redis_from(given.get("redis"))))
    except (AgentPoolError, TimeoutError, OSError):
        return []
    names = [pool.name for pool in pools if pool.namespace == namespace] + [str(pool) for pool in pools]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


async def _pools(redis_url: str | None) -> list[PoolRef]:
    # Every module of the question, before its limit: a busy machine may need longer to load them than Redis to answer.
    from agentpool_core.cli.fleet import find_pools
    from agentpool_core.kube import connection  # noqa: F401
    from agentpool_core.queue import connect, inspector  # noqa: F401

    async with asyncio.timeout(WITHIN_SECONDS):
        return await find_pools(redis_url)


def answer_kubectl(root: click.Command, arguments: list[str]) -> None:
    """Print the completions of `kubectl agentpool ARGUMENTS…`; the last argument is the incomplete word."""
    *words, incomplete = arguments or [""]
    found = ShellComplete(root, {}, "kubectl agentpool", "").get_completions(words, incomplete)
    for item in found:
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else str(item.value))
    click.echo(FILES if any(item.type != "plain" for item in found) else NO_FILES)
