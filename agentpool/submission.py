"""From what people write to a JobRequest: seconds become milliseconds, receipts become ids, names become choices.

One list of options for every call of the client that submits. Who takes over next: the producer checks the values
that the queue limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Protocol, Required, TypedDict, TypeVar, Unpack

from agentpool.errors import InvalidJobError
from agentpool.jobs import JobId, JobRequest, Json, OnParentFailure, Priority

E = TypeVar("E", bound=StrEnum)


class Kept(Protocol):
    """A receipt, of whichever client."""

    @property
    def job_id(self) -> JobId:
        """The job's id."""


class SubmitOptions(TypedDict, total=False):
    """How a job is to run; what is left out has JobRequest's default."""

    priority: Priority | str
    job_id: str | None  # None: one is made
    idempotency_key: str | None  # the same key and body give the first job
    after: Iterable[JobId | str | Kept]  # jobs that must end first
    on_parent_failure: OnParentFailure | str
    delay: float  # seconds: not before this long from now
    ttl: float | None  # seconds: longest wait for its start; None: the pool's setting
    timeout: float | None  # seconds: one attempt's longest run; None: the pool's setting
    max_attempts: int | None  # None: the pool's setting
    preemptible: bool  # may be asked to yield at a checkpoint
    trace: Mapping[str, str] | None  # W3C trace headers


class NewJob(SubmitOptions, total=False):
    """One job of many: what `submit` takes, by the same names and in the same units."""

    kind: Required[str]  # names the handler
    payload: Json  # handed to it as it is; None where it is left out


def request_from(job: NewJob | JobRequest) -> JobRequest:
    """A JobRequest from a job of many; one that is a JobRequest already, as the queue has them, is taken as it is."""
    return job if isinstance(job, JobRequest) else request_of(**job)


def request_of(kind: str, payload: Json = None, **options: Unpack[SubmitOptions]) -> JobRequest:
    """A JobRequest from what people write. Raises InvalidJobError for a value, TypeError for an unknown option."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _READERS:
            raise TypeError(f"a job has no option {name!r}; use {', '.join(_READERS)}")
        field, read = _READERS[name]
        values[field] = read(name, value)
    return JobRequest(kind=kind, payload=payload, **values)


def choice_of(choices: type[E]) -> Callable[[str, Any], E]:
    """Reads a field's value as one of these. The reader raises InvalidJobError naming all there are."""

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


def _milliseconds(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InvalidJobError(
            field=field, value=value, problem="not a number of seconds from 0", remedy="use seconds, such as 1.5"
        )
    return round(value * 1000)


def _optional_milliseconds(field: str, value: object) -> int | None:
    return None if value is None else _milliseconds(field, value)


def _headers(field: str, value: Mapping[str, str] | None) -> Mapping[str, str]:
    del field
    return value or {}


def _as_it_is(field: str, value: object) -> object:
    del field
    return value


_READERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {  # by option: JobRequest's field, and how it is read
    "priority": ("priority", choice_of(Priority)),
    "job_id": ("job_id", _as_it_is),
    "idempotency_key": ("idempotency_key", _as_it_is),
    "after": ("after", _ids),
    "on_parent_failure": ("on_parent_failure", choice_of(OnParentFailure)),
    "delay": ("delay_ms", _milliseconds),
    "ttl": ("ttl_ms", _optional_milliseconds),
    "timeout": ("timeout_ms", _optional_milliseconds),
    "max_attempts": ("max_attempts", _as_it_is),
    "preemptible": ("preemptible", _as_it_is),
    "trace": ("trace", _headers),
}
