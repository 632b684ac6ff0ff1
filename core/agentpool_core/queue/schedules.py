"""A pool's schedules: list, change, and submit the jobs that are due.

Definitions are those of the AgentPool, in the settings, and dynamic ones. Any worker's maintenance submits due jobs:
`scripts/fire.lua` submits the job and moves the schedule to its next due time in one step, and only if the schedule
still stands at the expected due time, so each due time gives at most one job, however many workers submit or restart.
"""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import InvalidJobError, UnknownPoolError
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.requests import arguments, new_id, with_schema
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.schedule import Schedule
from agentpool_core.queue.schemas import PayloadSchemas
from agentpool_core.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient

log = logging.getLogger(__name__)
STORED = "*"  # in place of a schema's digest: the payload was checked when its schedule was stored
MOST_DYNAMIC = 1_000  # schedules of a pool beside those of its AgentPool
_LAST = re.compile(r"(\d{1,15}) (\S+) (.*)", re.ASCII)
_UNUSABLE = (ArithmeticError, TypeError, ValueError, RecursionError)  # of a definition or a time of foreign origin
RETRY = frozenset({"full", "retired", "unknown_pool"})  # refusals after which the due time stays due


class UnknownScheduleError(InvalidJobError):
    """The pool has no schedule of that name."""

    def __init__(self, name: str) -> None:
        problem, remedy = "no such schedule in the pool", "list the schedules for their names"
        super().__init__(field="name", value=name, problem=problem, remedy=remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleState:
    """A schedule, and its runs. Times are milliseconds of the Redis clock."""

    schedule: Schedule
    declared: bool  # by the AgentPool
    paused: bool  # at run time, or suspended by its definition
    next_due_ms: int | None  # None: paused, or never again
    last_due_ms: int | None  # None: none has been due yet
    last_outcome: str | None  # submitted, missed, overlap, or the reason of a refusal
    last_job_id: JobId | None  # the latest submitted job


class Schedules:
    """The schedules of a pool."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool
        self._conf = Keys(pool).conf

    async def list(self) -> list[ScheduleState]:
        """Return all schedules, by name. Raises UnknownPoolError."""
        _, states = await self._read()
        return sorted(states.values(), key=lambda state: state.schedule.name)

    async def read(self, name: str) -> ScheduleState:
        """Return a schedule. Raises UnknownScheduleError or UnknownPoolError."""
        _, states = await self._read()
        if name not in states:
            raise UnknownScheduleError(name)
        return states[name]

    async def put(self, schedule: Schedule) -> None:
        """Create or replace a dynamic schedule.

        Raises InvalidJobError for a name that the AgentPool declares, or for too many schedules.
        """
        request = _request(schedule, 0)
        _, _, payload, _ = arguments(request, new_id())  # refuses a payload that no job may have
        schemas = PayloadSchemas(self._redis, self._conf)
        await schemas.refresh()
        schemas.fitting(schedule.kind, payload)
        now_ms, _ = await self._read()
        due = "" if schedule.suspended else _text(schedule.next_after(now_ms))
        args = ("put", schedule.name, schedule.to_json(), due, MOST_DYNAMIC)
        reply = await scripts.SCHEDULE.run(self._redis, self._conf, args)
        self._check(reply, schedule.name)

    async def delete(self, name: str) -> None:
        """Delete a dynamic schedule; its jobs stay. Raises UnknownScheduleError, or InvalidJobError if declared."""
        self._check(await scripts.SCHEDULE.run(self._redis, self._conf, ("delete", name)), name)

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause or resume a schedule at run time. Due times meanwhile are skipped. Raises UnknownScheduleError."""
        now_ms, states = await self._read()
        state = states.get(name)
        due = None if state is None or state.schedule.suspended else state.schedule.next_after(now_ms)
        args = ("pause" if paused else "resume", name, _text(due))
        self._check(await scripts.SCHEDULE.run(self._redis, self._conf, args), name)

    async def run_due(self) -> int:
        """Submit the jobs that are due; return their number. Safe for any number of concurrent callers."""
        now_ms, states = await self._read()
        submitted = 0
        for state in states.values():
            if state.next_due_ms is None or state.next_due_ms > now_ms:
                continue
            try:
                submitted += await self._run(state.schedule, state.next_due_ms, now_ms)
            except (InvalidJobError, *_UNUSABLE) as error:  # the other schedules are due all the same
                log.warning("schedule %s of pool %s: %s", state.schedule.name, self._pool, one_line(error))
        return submitted

    async def _run(self, schedule: Schedule, first_ms: int, now_ms: int) -> int:
        """Submit the jobs of the due times from `first_ms` to now; return their number."""
        following = schedule.next_after(now_ms)
        due = schedule.to_submit(first_ms, now_ms)
        if not due:
            await self._fire(schedule, first_ms, following, None)
            return 0
        submitted, expected = 0, first_ms
        for place, due_ms in enumerate(due):
            next_ms = due[place + 1] if place + 1 < len(due) else following
            outcome = await self._fire(schedule, expected, next_ms, due_ms)
            if outcome in {"stale", *RETRY} or next_ms is None:
                return submitted + (outcome == "submitted")
            submitted, expected = submitted + (outcome == "submitted"), next_ms
        return submitted

    async def _fire(self, schedule: Schedule, expected_ms: int, next_ms: int | None, due_ms: int | None) -> str:
        """Move the schedule to its next due time, with a job for `due_ms` (None: no job); return the outcome."""
        moved = (schedule.name, expected_ms, _text(next_ms), due_ms or expected_ms, schedule.overlap.value)
        job = [] if due_ms is None else with_schema(arguments(_request(schedule, due_ms), new_id()), STORED)
        reply = await scripts.FIRE.run(self._redis, self._conf, (*moved, *job))
        with Reading("fire"):
            outcome = str(reply[0])
        if outcome not in {"submitted", "stale", "overlap"}:
            log.warning("schedule %s of pool %s: no job for its due time: %s", schedule.name, self._pool, outcome)
        return outcome

    async def _read(self) -> tuple[int, dict[str, ScheduleState]]:
        """Return the time, and all schedules with a readable definition."""
        reply = await scripts.SCHEDULES.run(self._redis, self._conf)
        if reply == ["unknown_pool"]:
            raise UnknownPoolError(str(self._pool))
        with Reading("schedules"):
            _, now_ms, declared, dynamic, due, last, paused = reply
            tables = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in (declared, dynamic, due, last)]
            definitions = {name: (text, False) for name, text in tables[1].items()}
            definitions |= {name: (text, True) for name, text in tables[0].items()}
            states = {
                name: _state(schedule, named, tables[2].get(name), tables[3].get(name), name in paused)
                for name, (text, named) in definitions.items()
                if (schedule := _readable(name, text)) is not None
            }
            return int(now_ms), states

    def _check(self, reply: Any, name: str) -> None:
        problems = {
            "declared": ("the AgentPool declares the schedule", "change spec.schedules of the AgentPool"),
            "too_many": (f"the pool has {MOST_DYNAMIC} schedules", "delete schedules that are no longer needed"),
        }
        if reply == ["unknown_pool"]:
            raise UnknownPoolError(str(self._pool))
        if reply[0] == "unknown":
            raise UnknownScheduleError(name)
        if reply[0] in problems:
            problem, remedy = problems[reply[0]]
            raise InvalidJobError(field="name", value=name, problem=problem, remedy=remedy)


def first_due(schedules: Sequence[Schedule], now_ms: int) -> dict[str, int]:
    """Return the next due time of each schedule that is not suspended, by name."""
    due = {schedule.name: schedule.next_after(now_ms) for schedule in schedules if not schedule.suspended}
    return {name: due_ms for name, due_ms in due.items() if due_ms is not None}


def _request(schedule: Schedule, due_ms: int) -> JobRequest:
    """Return the job for a due time; its idempotency key makes a second submit harmless."""
    return JobRequest(
        kind=schedule.kind,
        payload=schedule.payload,
        priority=schedule.priority,
        idempotency_key=f"schedule:{schedule.name}:{due_ms}",
        tags=(f"schedule={schedule.name}",),
    )


def _readable(name: str, text: str) -> Schedule | None:
    """Return the schedule of a stored definition; None for a text that this version cannot use."""
    try:
        found = Schedule.from_mapping(json.loads(text))
        arguments(_request(found, 0), new_id())  # refuses a payload that no job may have
        return replace(found, name=name) if found.name != name else found
    except (InvalidJobError, LookupError, AttributeError, *_UNUSABLE) as error:
        log.warning("schedule %r cannot be used: %s", name[:100], type(error).__name__)
        return None


def _state(schedule: Schedule, declared: bool, due: str | None, last: str | None, paused: bool) -> ScheduleState:  # noqa: FBT001
    known = _LAST.fullmatch(last or "")
    last_due, outcome, job_id = known.groups() if known else (None, None, None)
    due_ms = math.inf if due is None else float(due)
    return ScheduleState(
        schedule=schedule,
        declared=declared,
        paused=paused or schedule.suspended,
        next_due_ms=int(due_ms) if math.isfinite(due_ms) else None,
        last_due_ms=None if last_due is None else int(last_due),
        last_outcome=outcome,
        last_job_id=JobId(job_id) if job_id else None,
    )


def _text(due_ms: int | None) -> str:
    return "" if due_ms is None else str(due_ms)
