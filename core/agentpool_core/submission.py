"""Convert user input to a JobRequest: seconds to milliseconds, receipts to ids, names to choices.

A common list of options for all submitting calls of the client. The producer checks values that the queue limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Protocol, Required, TypedDict, TypeVar, Unpack

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import AfterCondition, JobId, JobRequest, Json, OnConflict, Priority

E = TypeVar("E", bound=StrEnum)


class Kept(Protocol):
    """A receipt of any client."""

    @property
    def job_id(self) -> JobId:
        """The job's id."""


class SubmitOptions(TypedDict, total=False):
    """Options of a job; omitted options have JobRequest's defaults."""

    priority: Priority | str
    job_id: str | None  # None: generated
    idempotency_key: str | None  # the same key and body give the first job
    on_conflict: OnConflict | str  # with a job that has the idempotency key
    limit_key: str | None  # limits by key apply to all jobs with the same text together
    tenant: str | None  # limits by tenant apply to all jobs of the tenant together
    tokens: int | None  # of models, that the job is expected to use, for rates of tokens; None: the route's
    after: Iterable[JobId | str | Kept]  # jobs that must end first
    after_condition: AfterCondition | str
    delay: float  # seconds: not before this long from now
    ttl: float | None  # seconds: longest wait for the start; None: the pool's setting
    timeout: float | None  # seconds: longest run of an attempt; None: the pool's setting
    max_attempts: int | None  # None: the pool's setting
    preemptible: bool  # may be asked to yield at a checkpoint
    trace: Mapping[str, str] | None  # W3C trace headers
    tags: Iterable[str]  # labels to find the job by


class NewJob(SubmitOptions, total=False):
    """A job of many, with the arguments of `submit`, in the same units."""

    kind: Required[str]  # names the handler
    payload: Json  # passed to the handler unchanged; None if omitted
    webhook: str | Mapping[str, Any] | None  # receives the end of the job: a URL, or an object with url and changes


def request_from(job: NewJob | JobRequest) -> JobRequest:
    """Return a JobRequest for a job of many, without its webhook; a JobRequest is returned unchanged."""
    if isinstance(job, JobRequest):
        return job
    options: Any = {name: value for name, value in job.items() if name != "webhook"}
    return request_of(**options)


def request_of(kind: str, payload: Json = None, **options: Unpack[SubmitOptions]) -> JobRequest:
    """Return a JobRequest from user input. Raises InvalidJobError for a value, TypeError for an unknown option."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _READERS:
            raise TypeError(f"a job has no option {name!r}; use {', '.join(_READERS)}")
        field, read = _READERS[name]
        values[field] = read(name, value)
    return JobRequest(kind=kind, payload=payload, **values)


def choice_of(choices: type[E]) -> Callable[[str, Any], E]:
    """Return a reader of these choices. The reader raises InvalidJobError naming all choices."""

    def read(field: str, value: Any) -> E:
        try:
            return choices(value)
        except ValueError as error:
            raise InvalidJobError(
                field=field, value=value, problem="no such choice", remedy=f"use one of {', '.join(choices)}"
            ) from error

    return read


def _ids(field: str, value: Iterable[object]) -> tuple[JobId, ...]:
    del field
    return tuple(JobId(str(getattr(parent, "job_id", parent))) for parent in value)


def whole_milliseconds(field: str, value: object) -> int:
    """Return the milliseconds of a number of seconds. Raises InvalidJobError naming the field."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * 1000 < math.inf:
        raise InvalidJobError(
            field=field, value=value, problem="not a number of seconds from 0", remedy="use seconds, such as 1.5"
        )
    return round(value * 1000)


def _optional_milliseconds(field: str, value: object) -> int | None:
    return None if value is None else whole_milliseconds(field, value)


def _headers(field: str, value: Mapping[str, str] | None) -> Mapping[str, str]:
    del field
    return value or {}


def _texts(field: str, value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidJobError(field=field, value=value, problem="a text, not a list", remedy="send a list of texts")
    return tuple(value)


def _as_it_is(field: str, value: object) -> object:
    del field
    return value


_READERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {  # by option: JobRequest's field, and its reader
    "priority": ("priority", choice_of(Priority)),
    "job_id": ("job_id", _as_it_is),
    "idempotency_key": ("idempotency_key", _as_it_is),
    "on_conflict": ("on_conflict", choice_of(OnConflict)),
    "limit_key": ("limit_key", _as_it_is),
    "tenant": ("tenant", _as_it_is),
    "tokens": ("tokens", _as_it_is),
    "after": ("after", _ids),
    "after_condition": ("after_condition", choice_of(AfterCondition)),
    "delay": ("delay_ms", whole_milliseconds),
    "ttl": ("ttl_ms", _optional_milliseconds),
    "timeout": ("timeout_ms", _optional_milliseconds),
    "max_attempts": ("max_attempts", _as_it_is),
    "preemptible": ("preemptible", _as_it_is),
    "trace": ("trace", _headers),
    "tags": ("tags", _texts),
}
