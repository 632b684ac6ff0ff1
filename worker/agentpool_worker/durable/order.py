"""Places of steps in a handler's program, and the check that they are the same in every attempt.

A step follows the last step of its task: a task that `asyncio.gather` starts begins at the place of its parent. So the
place depends on the program alone, and not on which of several concurrent steps is quicker. A program that has changed
since an earlier attempt is found at the first step in a different place, before that step runs. Branches that share a
name in an order that a later attempt may not repeat are found in the first attempt.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from agentpool_worker.exceptions import StepBranchError, StepOrderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import Step


class Place(NamedTuple):
    """A place in the program of a job."""

    job: object  # the journal of the job
    after: str  # name of the step before; empty: none
    task: object  # of that step
    outer: Place | None  # the place at which this task began; None: the handler's own task


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
    place, task = _place.get(), current_task()
    if place is not None and place.job is not job:
        place = None
    outer = place.outer if place is not None and place.task is task else place
    _place.set(Place(job, after, task, outer))


@dataclass(kw_only=True, slots=True)
class _Users:
    """Branches that use a name."""

    after: str  # their place
    latest: int = 0  # number of the branch that began last
    tasks: WeakSet[Any] = field(default_factory=WeakSet)

    def refuses(self, task: object, number: int, after: str, callers: set[object]) -> bool:
        """Return whether the order of the next use, in this task at this place, may change."""
        if self.after == after and task not in self.tasks:
            return number < self.latest
        return any(not other.done() for other in self.tasks if other is not task and other not in callers)


class SharedNames:
    """Names that several branches of a job use at once.

    Each branch may use the name once, from the same place and in the order in which the branches began, as in
    `gather(*(ctx.step("read", read, page) for page in pages))`: this order is the same in every attempt.
    """

    def __init__(self) -> None:
        self._users: dict[str, _Users] = {}

    def use(self, name: str, job: object, root: object) -> None:
        """Use the name in the caller's task. Raises StepBranchError for an order that a later attempt may change."""
        if not is_branch(root):
            return
        task = current_task()
        if (number := _number_of(task)) is None:
            return
        after, _ = place_in(job, root)
        users = self._users.get(name)
        if users is not None and users.refuses(task, number, after, _callers(job)):
            raise StepBranchError(name)
        if users is None or users.after != after or task in users.tasks:
            users = self._users[name] = _Users(after=after)
        users.latest = number
        users.tasks.add(task)


def _callers(job: object) -> set[object]:
    """Return the tasks that have started the caller's task, as far as they have run steps."""
    place, tasks = _place.get(), set[object]()
    while place is not None and place.job is job:
        tasks.add(place.task)
        place = place.outer
    return tasks


def _number_of(task: object) -> int | None:
    """Return the number of a task, which grows from task to task: `Task-1`, `Task-2`, …; None: the task has a name."""
    name = task.get_name() if isinstance(task, asyncio.Task) else ""
    number = name.removeprefix("Task-")
    return int(number) if number.isdecimal() else None


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
