"""Jobs as JSON documents."""

from __future__ import annotations

from dataclasses import fields

import pytest

from agentpool_core.documents import event_document, request_from
from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import AfterCondition, JobEvent, JobId, JobRequest, Priority


def test_every_field_of_a_request_can_be_sent():
    """A document has the names of a request, so every field is available over HTTP."""
    document = {
        "kind": "greet",
        "payload": {"a": [1, None]},
        "priority": "critical",
        "job_id": "j",
        "idempotency_key": "k",
        "on_conflict": "keep",
        "limit_key": "provider",
        "tags": ["blue"],
        "tenant": "acme",
        "tokens": 2_000,
        "after": ["p"],
        "after_condition": "finished",
        "delay_ms": 1,
        "ttl_ms": 2,
        "timeout_ms": 3,
        "max_attempts": 4,
        "preemptible": True,
        "trace": {"traceparent": "00-a-b-01"},
    }
    assert set(document) == {field.name for field in fields(JobRequest)} - {"started_by"}  # set by a worker only
    request = request_from(document)
    assert request.priority is Priority.CRITICAL
    assert request.after_condition is AfterCondition.FINISHED
    assert request.after == ("p",)


def test_a_whole_number_may_be_written_as_a_float():
    """JSON Schema and many languages know one type of numbers; a number that a float may have rounded is refused."""
    assert request_from({"kind": "a", "delay_ms": 5.0, "max_attempts": 3.0}).delay_ms == 5
    with pytest.raises(InvalidJobError, match="not a whole number"):
        request_from({"kind": "a", "delay_ms": 2.0**60})


@pytest.mark.parametrize(("value", "ms"), [(5, 5_000), (0.25, 250), ("5m", 300_000), ("250ms", 250), ("7", 7_000)])
def test_times_are_seconds_or_a_text_with_a_unit(value, ms):
    """As in Python and on the command line; names that end in _ms are milliseconds."""
    found = request_from({"kind": "greet", "delay": value, "ttl": value, "timeout": value})
    assert (found.delay_ms, found.ttl_ms, found.timeout_ms) == (ms, ms, ms)
    assert found == request_from({"kind": "greet", "delay_ms": ms, "ttl_ms": ms, "timeout_ms": ms})


@pytest.mark.parametrize(
    ("kind", "text", "detail"),
    [
        ("failed", "ValueError: no", {"error": "ValueError: no"}),
        ("progress", '{"done": 1}', {"progress": {"done": 1}}),
        ("progress", "{", {"progress": "{"}),
        ("signalled", "approval", {"signal": "approval"}),
        ("waiting", "approval=1 stop=2", {"waits_for": ["approval", "stop"]}),
        ("cancelled", "requested", {"reason": "requested"}),
        ("started", None, None),
    ],
)
def test_the_detail_of_an_event_is_an_object(kind, text, detail):
    """The field's name has the meaning of the detail, and JSON is not a text in JSON."""
    event = JobEvent(id="1-0.0", type=kind, job_id=JobId("j"), at_ms=1, kind="greet", route="default",
                     priority=Priority.TASK, attempt=1, worker=None, detail=text)  # fmt: skip
    assert event_document(event)["detail"] == detail


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "send an object"),
        ({"kind": "a", "delay": "soon"}, "delay: 'soon': not a duration"),
        ({"kind": "a", "delay": 1e306}, r"delay: 1e\+306: not a duration"),
        ({"kind": "a", "ttl": -1}, "ttl: -1: not a duration"),
        ({"kind": "a", "timeout": True}, "timeout: True: not a duration"),
        ({"kind": "a", "ttl": 1, "ttl_ms": 5}, "ttl_ms is given too"),
        ({}, "kind: missing"),
        ({"kind": ""}, "kind: ''"),
        ({"kind": 3}, "kind: 3"),
        ({"kind": "a", "prio": "task"}, "prio: 'task': no such field; use kind, payload"),
        ({"kind": "a", "priority": "urgent"}, "use one of critical, task, info"),
        ({"kind": "a", "priority": ["task"]}, "use one of critical, task, info"),
        ({"kind": "a", "delay_ms": -1}, "delay_ms: -1"),
        ({"kind": "a", "delay_ms": True}, "delay_ms: True"),
        ({"kind": "a", "delay_ms": 1.5}, "delay_ms: 1.5"),
        ({"kind": "a", "after": "x"}, "send a JSON array"),
        ({"kind": "a", "after": [1]}, r"after\[0\]: 1"),
        ({"kind": "a", "preemptible": "yes"}, "send true or false"),
        ({"kind": "a", "trace": []}, "an object of W3C trace headers"),
        ({"kind": "a", "after_condition": 1}, "use one of succeeded, finished, failed"),
    ],
)
def test_a_wrong_document_is_refused_by_field_value_and_remedy(document: object, says: str):
    """The error names field, value and remedy; no wrong field is ignored."""
    with pytest.raises(InvalidJobError, match=says):
        request_from(document)
