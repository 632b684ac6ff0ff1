"""Find, count and change the jobs of a selector, in steps that each hold Redis only briefly.

A page ends at a number of jobs or bytes; its cursor continues. A change (cancel, replay, purge) handles about a hundred
jobs in a step, concerns jobs submitted before its first step, and passes again over orders that the changes have
moved, until a pass changes nothing. `scripts/list.lua`, `count.lua` and `apply.lua` take over next.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import InvalidJobError, QueueReplyError, RetiredPoolError
from agentpool_core.jobs import JobState
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.records import BODY_FIELDS, HEAD_FIELDS, fields_of, job_of
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.selector import ENDED, UNENDED, JobSelector

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.settings import PoolSettings

PAGE_JOBS = 500  # listed by a script
PAGE_BYTES = 4 * 2**20  # after which a script ends its page of a list; a job may have as much
MOST_STEPS = 100_000  # of a list, a count or a change: bounds a faulty server's answers
MATCH_FIELDS = "state spec entry log tags tenant ended error"  # as in scripts/lib/selection.lua
_NUMBER = r"\d{1,18}"
_ENTRY = rf"\d{{1,15}}-{_NUMBER}"
_PLACE = re.compile(
    rf"(?:scheduled due|waiting waiting|failed dead) {_NUMBER}|blocked blocked {_NUMBER} {_NUMBER}"
    rf"|(?:queued|running) \S{{1,1000}} (?:-|\({_ENTRY})"
    rf"|(?:succeeded|cancelled|expired) ended (?:\+|\(?{_ENTRY}) {_NUMBER}"
)
_STEP = re.compile(r"(\d{1,15}):(\d{1,15}):(.*)", re.DOTALL)
# States whose orders shift when a job leaves.
_MOVING = frozenset({JobState.SCHEDULED, JobState.BLOCKED, JobState.WAITING, JobState.FAILED})


class Change(StrEnum):
    """A change of selected jobs."""

    CANCEL = "cancel"  # end waiting jobs, ask the workers of running jobs to stop them
    REPLAY = "replay"  # put dead letters back into the queue
    PURGE = "purge"  # delete ended jobs

    @property
    def states(self) -> tuple[JobState, ...]:
        """Return the states of the jobs that can be changed so."""
        return {Change.CANCEL: UNENDED, Change.REPLAY: (JobState.FAILED,), Change.PURGE: ENDED}[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    """A part of a list."""

    jobs: tuple[Job, ...]
    cursor: str | None  # continues the list; None: these were the last


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeStep:
    """The outcome of a step."""

    changed: int  # jobs that this step changed
    cursor: str | None  # continues the change; None: every selected job is changed


class Selection:
    """The selected jobs of a pool."""

    def __init__(self, redis: RedisClient, pool: PoolRef, selector: JobSelector) -> None:
        self._redis = redis
        self._pool = pool
        self._conf = Keys(pool).conf
        self._selector = selector

    async def page(
        self, settings: PoolSettings, *, limit: int, cursor: str | None = None, bodies: bool = False
    ) -> JobPage:
        """Return at most `limit` jobs from the cursor on, state by state in the order of the selector.

        Jobs that wait, run or are dead come oldest first (within a route and priority), other ended jobs newest first.
        A job that moves meanwhile may be missing. Raises InvalidJobError for a cursor of a different list.
        """
        selected = self._selector.to_json(self._selector.within((*UNENDED, *ENDED)))
        record = partial(job_of, max_attempts=settings.max_attempts, timeout_ms=settings.timeout_ms, bodies=bodies)
        names = " ".join((*HEAD_FIELDS, *BODY_FIELDS) if bodies else HEAD_FIELDS)
        found: dict[str, Job] = {}
        place = _checked_place(cursor)
        for _ in range(MOST_STEPS):
            args = (selected, place, min(PAGE_JOBS, limit - len(found)), PAGE_BYTES, names)
            reply = await scripts.LIST.run(self._redis, self._conf, args)
            with Reading("list"):
                place = str(reply[0])
                pairs = zip(reply[1::2], reply[2::2], strict=True)
                found |= {job_id: record(job_id, fields_of(fields)) for job_id, fields in pairs}
            if place and len(found) >= limit and not await self._has_more(selected, place):
                place = ""
            if not place or len(found) >= limit:
                return JobPage(jobs=tuple(found.values()), cursor=place or None)
        raise QueueReplyError(doing="list", problem=f"there are more jobs after {MOST_STEPS} pages")

    async def _has_more(self, selected: str, place: str) -> bool:
        """Whether a job follows; a look at a bounded part, in which none was found, counts as yes."""
        reply = await scripts.LIST.run(self._redis, self._conf, (selected, place, 1, 1, MATCH_FIELDS))
        return len(reply) > 1 or bool(reply[0])

    async def count(self) -> int:
        """Return the number of selected jobs."""
        selected = self._selector.to_json(self._selector.within((*UNENDED, *ENDED)))
        place, number = "", 0
        for _ in range(MOST_STEPS):
            reply = await scripts.COUNT.run(self._redis, self._conf, (selected, place))
            with Reading("count"):
                place, number = str(reply[0]), number + int(reply[1])
            if not place:
                return number
        raise QueueReplyError(doing="count", problem=f"there are more jobs after {MOST_STEPS} steps")

    async def step(self, change: Change, *, cursor: str | None = None, reason: str = "requested") -> ChangeStep:
        """Change about a hundred jobs, from the cursor of the step before on.

        Raises InvalidJobError for a state that cannot be changed so or a foreign cursor, RetiredPoolError for a replay.
        """
        states = self._selector.within(change.states)
        first_ms, before, place = _checked_step(cursor)
        args = (change.value, self._selector.to_json(states), place, first_ms, reason)
        reply = await scripts.APPLY.run(self._redis, self._conf, args)
        if reply == ["retired"]:
            raise RetiredPoolError(str(self._pool))
        with Reading("apply"):
            _, place, changed, first_ms, more_children = reply
            in_pass = before + int(changed)
            again = not place and (bool(more_children) or (in_pass > 0 and not _MOVING.isdisjoint(states)))
            if again:
                in_pass = 0
            next_cursor = f"{first_ms}:{in_pass}:{place}" if place or again else None
            return ChangeStep(changed=int(changed), cursor=next_cursor)

    async def steps(self, change: Change, *, reason: str = "requested") -> AsyncIterator[int]:
        """Change all selected jobs; yield the number of jobs that each step changed."""
        cursor: str | None = None
        for _ in range(MOST_STEPS):
            done = await self.step(change, cursor=cursor, reason=reason)
            yield done.changed
            cursor = done.cursor
            if cursor is None:
                return
        raise QueueReplyError(doing="apply", problem=f"there are more jobs after {MOST_STEPS} steps")


def _checked_place(cursor: str | None) -> str:
    if cursor and not _PLACE.fullmatch(cursor):
        raise _foreign(cursor)
    return cursor or ""


def _checked_step(cursor: str | None) -> tuple[str, int, str]:
    """Return the time of the first step, the number of jobs changed in this pass, and the place."""
    if not cursor:
        return "", 0, ""
    found: Any = _STEP.fullmatch(cursor)
    if found is None:
        raise _foreign(cursor)
    return found[1], int(found[2]), _checked_place(found[3])


def _foreign(cursor: str) -> InvalidJobError:
    return InvalidJobError(
        field="cursor",
        value=cursor,
        problem="not a cursor of this list",
        remedy="send the cursor of the answer before, unchanged, or none",
    )
