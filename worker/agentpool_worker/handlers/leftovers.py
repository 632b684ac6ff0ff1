"""Processes that a job's process leaves behind: found and killed, also outside its process group.

A process that changed its session (`setsid`, a daemon) is identified by a variable of its environment that belongs to
the job alone. Under a supervisor only orphans are examined; a process with a cleared environment counts as left
behind as soon as no job runs. Without a supervisor all processes are examined. `agentpool_worker.handlers.command`
reports the killed processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from agentpool_worker.supervision import lifeline
from agentpool_worker.supervision.processes import (
    has_children_beside,
    kill_until_none,
    name_of,
    others_below,
    with_variable,
)

_KILL_SECONDS = 1.0


def signal_group(group: int, number: signal.Signals) -> None:
    """Send the signal to a process group; ignore a missing group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; on macOS a group of zombies says EPERM
        os.killpg(group, number)


async def end_leftovers(group: int, mark: str, *, alone: bool) -> list[str]:
    """Kill the leftovers of a job; return the names of those outside its process group.

    `mark` is the `NAME=value` that only this job's processes have; `alone`: no further job runs.
    """
    signal_group(group, signal.SIGKILL)
    supervisor = lifeline.supervisor()
    if supervisor is not None and not has_children_beside(supervisor, os.getpid()):
        return []
    return await asyncio.to_thread(_end, mark, supervisor, alone)


def _end(mark: str, supervisor: int | None, alone: bool) -> list[str]:  # noqa: FBT001 - passed on by to_thread
    names: dict[int, str] = {}

    def find() -> list[int]:
        found = _remaining(mark, supervisor, alone=alone)
        for pid in found:
            names.setdefault(pid, name_of(pid))
        return found

    kill_until_none(find, within_seconds=_KILL_SECONDS)
    return list(names.values())


def _remaining(mark: str, supervisor: int | None, *, alone: bool) -> list[int]:
    if supervisor is None:
        return with_variable(mark)
    orphans = others_below(supervisor, os.getpid())
    return orphans if alone else with_variable(mark, among=orphans)
