"""Change all selected jobs from a command, with a bar of the progress.

`agentpool_core.queue.selection` takes over next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agentpool_core.cli.connection import open_redis
from agentpool_core.cli.progress import show_progress

if TYPE_CHECKING:
    from agentpool_core.cli.target import Target
    from agentpool_core.queue.selector import JobSelector


async def change_selected(
    target: Target, selector: JobSelector, change: Literal["cancel", "replay", "purge"], *, reason: str = "requested"
) -> int:
    """Cancel, replay or purge the selected jobs; return the number of changed jobs."""
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.selection import Change

    changed = 0
    async with open_redis(target) as redis:
        selection = Inspector(redis).select(target.pool, selector)
        with show_progress(f"{change}: jobs", lambda: None) as progress:
            async for number in selection.steps(Change(change), reason=reason):
                changed += number
                progress(number)
    return changed
