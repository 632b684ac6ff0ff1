"""A selector of jobs: by state, kind, route, tenant, tags and time; common to lists, counts and changes of many jobs.

Lists of ended jobs read the streams `ended:STATE`, so no call scans the keys of Redis. `scripts/lib/selection.lua`
reads the JSON form. `agentpool_core.queue.selection` takes over next.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import JobState
from agentpool_core.queue.codec.json_text import MOST_EXACT
from agentpool_core.queue.codec.requests import check_tags
from agentpool_core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence

WAITING = (JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED, JobState.WAITING)
UNENDED = (JobState.RUNNING, *WAITING)
LISTED = (*UNENDED, JobState.FAILED)  # without a chosen state: jobs that still need something
ENDED = (JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED)
MOST_NAMES = 100  # kinds, routes or tenants
LATEST_MS = MOST_EXACT  # of the Redis clock


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSelector:
    """Conditions that a selected job meets, all of them. An empty condition is met by every job."""

    states: tuple[JobState, ...] = ()
    kinds: tuple[str, ...] = ()  # any of these
    routes: tuple[str, ...] = ()  # any of these
    tenants: tuple[str, ...] = ()  # any of these
    tags: tuple[str, ...] = ()  # all of these
    error: str | None = None  # text that the job's last error contains, anywhere; capital letters matter
    error_group: str | None = None  # exactly the errors of this group, as `error_groups.group_of` names it
    submitted_after_ms: int | None = None  # at this time of the Redis clock, or later
    submitted_before_ms: int | None = None  # before this time of the Redis clock

    def __post_init__(self) -> None:
        """Raise InvalidJobError for a condition that no job could meet."""
        check_tags("tags", self.tags)
        for field in ("kinds", "routes", "tenants"):
            _check_names(field, getattr(self, field))
        for field in ("error", "error_group"):
            if getattr(self, field) is not None:
                _check_names(field, (getattr(self, field),))
        for field in ("submitted_after_ms", "submitted_before_ms"):
            _check_time(field, getattr(self, field))

    @property
    def is_empty(self) -> bool:
        """Whether the selector selects every job."""
        return self == JobSelector()

    def within(self, states: Sequence[JobState]) -> tuple[JobState, ...]:
        """Return the selected states; `states` if none is named. Raises InvalidJobError for a different state."""
        for state in self.states:
            if state not in states:
                raise InvalidJobError(
                    field="state",
                    value=state.value,
                    problem="jobs in that state cannot be changed so",
                    remedy=f"use {', '.join(states)}",
                )
        return tuple(dict.fromkeys(self.states)) or tuple(states)

    def to_json(self, states: Sequence[JobState]) -> str:
        """Return the form that scripts read, for these states."""
        conditions = {
            "states": [state.value for state in states],
            "kinds": self.kinds,
            "routes": self.routes,
            "tenants": self.tenants,
            "tags": self.tags,
            "error": self.error,
            "error_group": self.error_group,
            "after": self.submitted_after_ms,
            "before": self.submitted_before_ms,
        }
        return json.dumps({name: value for name, value in conditions.items() if value or value == 0})


def _check_names(field: str, names: Sequence[object]) -> None:
    if len(names) > MOST_NAMES:
        raise InvalidJobError(
            field=field,
            value=f"{len(names)} names",
            problem=f"more than {MOST_NAMES}",
            remedy="select in several calls",
        )
    for name in names:
        if not isinstance(name, str) or not name or encodable(name) != name:
            remedy = "use a text that is not empty, without half characters"
            raise InvalidJobError(field=field, value=name, problem="not a name", remedy=remedy)


def _check_time(field: str, at_ms: object) -> None:
    if at_ms is None:
        return
    if isinstance(at_ms, bool) or not isinstance(at_ms, int) or not 0 <= at_ms <= LATEST_MS:
        raise InvalidJobError(
            field=field, value=at_ms, problem="not a time", remedy="use milliseconds since 1970 as a whole number"
        )
