"""Submit's options, as people write them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import pytest

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import AfterCondition, JobId, JobRequest, JobState, OnConflict, Priority, Receipt
from agentpool_core.submission import NewJob, SubmitOptions, request_from, request_of

EVERY_OPTION = SubmitOptions(
    priority="critical",
    job_id="j",
    idempotency_key="k",
    tags=["blue"],
    on_conflict="replace",
    limit_key="provider",
    tenant="acme",
    tokens=2_000,
    after=["p", Receipt(job_id=JobId("q"), state=JobState.QUEUED, duplicate=False, queue_depth=1)],
    after_condition="finished",
    delay=0.5,
    ttl=60,
    timeout=1.25,
    max_attempts=4,
    preemptible=True,
    trace={"traceparent": "00-a-b-01"},
)


def test_every_field_of_a_request_is_an_option():
    """Submit has an option for each field of JobRequest, with times in seconds."""
    assert set(EVERY_OPTION) == set(SubmitOptions.__annotations__)
    names = {field.name for field in fields(JobRequest)} - {"started_by"}  # set by a worker only
    assert {name.removesuffix("_ms") for name in names} == {
        "kind",
        "payload",
        *SubmitOptions.__annotations__,
    }
    assert request_of("greet", [1], **EVERY_OPTION) == JobRequest(
        kind="greet",
        payload=[1],
        priority=Priority.CRITICAL,
        job_id=JobId("j"),
        idempotency_key="k",
        tags=("blue",),
        on_conflict=OnConflict.REPLACE,
        limit_key="provider",
        tenant="acme",
        tokens=2_000,
        after=(JobId("p"), JobId("q")),
        after_condition=AfterCondition.FINISHED,
        delay_ms=500,
        ttl_ms=60_000,
        timeout_ms=1_250,
        max_attempts=4,
        preemptible=True,
        trace={"traceparent": "00-a-b-01"},
    )


def test_an_omitted_option_and_none_are_the_requests_default():
    """None means the pool's setting if the type allows None."""
    assert request_of("greet") == JobRequest(kind="greet")
    assert request_of("greet", ttl=None, timeout=None, job_id=None, trace=None) == JobRequest(kind="greet")


def test_a_job_of_many_has_the_options_of_a_single_job():
    """The same names, in seconds; a JobRequest is passed on unchanged."""
    job = NewJob(kind="greet", payload=[1], **EVERY_OPTION)
    assert request_from(job) == request_of("greet", [1], **EVERY_OPTION)
    assert request_from({"kind": "greet", "delay": 0.5}) == JobRequest(kind="greet", delay_ms=500)
    assert request_from(JobRequest(kind="greet", delay_ms=1)) == JobRequest(kind="greet", delay_ms=1)
    with pytest.raises(TypeError, match="kind"):
        request_from(cast("Any", {"payload": 1}))


def test_an_unknown_option_is_a_wrong_call():
    """A misspelt option is never ignored, also without a type check."""
    with pytest.raises(TypeError, match="no option 'prio'; use priority, job_id"):
        request_of("greet", **cast("Any", {"prio": "task"}))


@pytest.mark.parametrize("seconds", [-1, True, "5", float("inf"), float("nan"), 1e306])
def test_a_value_that_is_no_time_is_refused_by_name(seconds: Any):
    """Seconds are numbers from zero up."""
    with pytest.raises(InvalidJobError, match=r"timeout: .*not a number of seconds"):
        request_of("greet", timeout=seconds)
