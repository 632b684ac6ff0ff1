"""Places of steps in a handler's program, and the check that they are the same in every attempt.

A step follows the last step of its task: a task that `asyncio.gather` starts begins at the place of its parent. So the
place depends on the program alone, and not on which of several concurrent steps is quicker. A program that has changed
since an earlier attempt is found at the first step in a different place, before that step runs.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from agentpool_worker.exceptions import StepOrderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import Step


class Place(NamedTuple):
    """A place in the program of a job."""

    job: object  # the journal of the job
    after: str  # name of the step before; empty: none
    task: object  # of that step


_place: ContextVar[Place | None] = ContextVar("place", default=None)


def current_task() -> object:
    """Return the caller's task; in a thread without an event loop, the thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return threading.current_thread()


def is_branch(root: object) -> bool:
    """Return whether the caller runs in a task beside the handler's own, `root`."""
    task = current_task()
    return isinstance(task, asyncio.Task) and task is not root


def place_in(job: object, root: object) -> tuple[str, bool]:
    """Return the step before the caller's place, and whether it ran in the caller's task.

    `root`: the task of the handler, in which the first step runs.
    """
    place = _place.get()
    if place is None or place.job is not job:
        return "", current_task() is root
    return place.after, place.task is current_task()


def move(job: object, after: str) -> None:
    """Continue behind the step `after` in the caller's task."""
    _place.set(Place(job, after, current_task()))


def check_place(name: str, after: str, *, sequential: bool, stored: Step | None, unused: Iterable[Step]) -> None:
    """Raise StepOrderError if an earlier attempt ran a different step at this place.

    `stored`: the step of this name in the store, if any. `unused`: stored steps that this attempt has not reached.
    """
    if stored is not None:
        if stored.after != after:
            raise StepOrderError(name, now_after=after, then_after=stored.after)
        return
    if not sequential:
        return
    for step in unused:
        if step.sequential and step.after == after:
            raise StepOrderError(name, now_after=after, instead_of=step.name)
