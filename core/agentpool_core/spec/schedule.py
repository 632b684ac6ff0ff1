"""The schedules of a pool: jobs at due times, by a cron expression or an interval.

`agentpool_core.queue.schedule` computes the due times.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, model_validator

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import Priority
from agentpool_core.queue.schedule import MOST_CATCH_UP, NAME_PATTERN, Missed, Overlap, Schedule
from agentpool_core.spec.base import Kind, Rule, SpecModel
from agentpool_core.spec.queue import YEAR_SECONDS

MAX_SCHEDULES = 100
MS_PER_SECOND = 1000

CronText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*/,# -]+$", max_length=200)]
TimeZoneName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$", max_length=64)]
ScheduleName = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=52)]


class ScheduleSpec(SpecModel):
    """A job at each due time: exactly one of cron and everySeconds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="has(self.cron) != has(self.everySeconds)",
            message="a schedule must hold exactly one of cron and everySeconds; remove one or add one",
        ),
    )

    name: ScheduleName = Field(description="The schedule's name. Its jobs have the tag schedule=NAME.")
    kind: Kind = Field(description="Kind of the jobs; selects the route.")
    cron: CronText | None = Field(
        default=None,
        description="Due times: five fields, minute hour day month weekday, such as `30 6 * * 1-5`.",
    )
    every_seconds: int | None = Field(
        default=None,
        ge=1,
        le=YEAR_SECONDS,
        description="Due times: multiples of this interval since 1970 UTC, in seconds.",
    )
    time_zone: TimeZoneName = Field(
        default="UTC",
        description=(
            "IANA name of the time zone of `cron`. A fixed time that a change of the clock skips is due right after "
            "the change; a fixed time that occurs twice is due once, at the first."
        ),
    )
    payload: dict[str, Any] = Field(
        default_factory=dict,
        description="Payload of the jobs: a JSON object.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    priority: Priority = Field(default=Priority.TASK, description="Priority of the jobs.")
    missed: Missed = Field(
        default=Missed.ONCE,
        description=(
            "Jobs for due times that passed without a worker: none for those that passed more than a minute ago "
            "(Skip), one for the latest (Once), one for each of the latest maxCatchUp (All)."
        ),
    )
    max_catch_up: int = Field(default=10, ge=1, le=MOST_CATCH_UP, description="Most jobs for missed times with All.")
    overlap: Overlap = Field(
        default=Overlap.ALLOW,
        description=(
            "A due time while the job of an earlier due time has not ended: both run (Allow), no new job (Skip), the "
            "earlier job is cancelled (Cancel)."
        ),
    )
    suspend: bool = Field(default=False, description="Stops the schedule; due times meanwhile are skipped.")

    @model_validator(mode="after")
    def _check(self) -> ScheduleSpec:
        """Check the rule above again, the time zone, and the expression."""
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError(self.rules[0].message)
        try:
            self.resolve()
        except InvalidJobError as error:
            raise ValueError(str(error)) from error
        return self

    def resolve(self) -> Schedule:
        """Return the schedule for the queue. Raises InvalidJobError."""
        return Schedule(
            name=self.name,
            kind=self.kind,
            cron=self.cron,
            every_ms=None if self.every_seconds is None else self.every_seconds * MS_PER_SECOND,
            time_zone=self.time_zone,
            payload=self.payload,
            priority=self.priority,
            missed=self.missed,
            max_catch_up=self.max_catch_up,
            overlap=self.overlap,
            suspended=self.suspend,
        )
