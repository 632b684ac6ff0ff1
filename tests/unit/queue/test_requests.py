"""Refusals before Redis is called, and the arguments of a request."""

from __future__ import annotations

import hashlib
import json

import pytest

from agentpool_core.errors import DependencyCycleError, InvalidJobError, SettingError
from agentpool_core.jobs import AfterCondition, JobId, JobRequest, PoolRef, Priority
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.codec.records import history_of
from agentpool_core.queue.codec.requests import arguments, new_id, parents_first


def test_a_plain_job_is_four_short_texts():
    """Most jobs have no extras at all."""
    request = JobRequest(kind="k", payload=None, priority=Priority.INFO)
    assert arguments(request, JobId("i")) == ["i", "k|info|||", "null", ""]


def test_rare_wishes_travel_together():
    """Flags, limits and extras are sent as the script reads them."""
    request = JobRequest(
        kind="k",
        preemptible=True,
        after_condition=AfterCondition.FINISHED,
        max_attempts=2,
        timeout_ms=5,
        after=(JobId("a"), JobId("a")),
        delay_ms=7,
        ttl_ms=9,
        idempotency_key="key",
    )
    _, spec, _, extras = arguments(request, JobId("i"))
    assert spec == "k|task|2|5|pu"
    sent = json.loads(extras)
    assert (sent["after"], sent["delay"], sent["ttl"], sent["idem"]) == (["a"], 7, 9, "key")
    assert sent["key"] == hashlib.sha256(b"key").hexdigest()
    assert len(sent["digest"]) == 32


def test_equal_bodies_have_equal_digests():
    """The order of an object's keys does not matter; anything else does."""

    def digest(payload):
        extras = arguments(JobRequest(kind="k", payload=payload, idempotency_key="x"), JobId("i"))[3]
        return json.loads(extras)["digest"]

    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


@pytest.mark.parametrize("value", [{"a": {1: {2j}}}, [float("inf")], {"a": b""}, {("t",): 1}])
def test_an_unencodable_value_is_named_with_its_path(value):
    """The error's field leads to the culprit."""
    with pytest.raises(InvalidJobError) as caught:
        encode("payload", value)
    assert caught.value.field.startswith("payload")
    assert caught.value.field != "payload" or not isinstance(value, dict | list)


def test_endless_nesting_is_refused():
    """A value that contains the same value is an error, not a crash."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidJobError):
        encode("payload", loop)


def test_parents_come_first_and_cycles_are_named():
    """Jobs of a call may have any order; a cycle is refused with its members."""
    a, b, c = (JobId(name) for name in "abc")
    requests = [JobRequest(kind="k", job_id=a, after=(b,)), JobRequest(kind="k", job_id=b)]
    assert list(parents_first(requests)) == [1, 0]
    ring = [JobRequest(kind="k", job_id=x, after=(y,)) for x, y in ((a, b), (b, c), (c, a))]
    with pytest.raises(DependencyCycleError, match="->"):
        parents_first(ring)


def test_ids_sort_by_time_and_never_repeat():
    """A later id has the same or a larger time part, and all ids differ."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [job_id[:11] for job_id in ids] == sorted(job_id[:11] for job_id in ids)


def test_a_plain_history_is_complete():
    """Entry, lease and end complete a history without a log."""
    fields = {"state": "succeeded", "entry": "5-0", "lease": "1 1 7 w", "ended": "9"}
    assert [(entry.type, entry.at_ms, entry.worker) for entry in history_of(fields)] == [
        ("queued", 5, None),
        ("started", 7, "w"),
        ("succeeded", 9, "w"),
    ]


@pytest.mark.parametrize("text", ["A/b", "a/", "/b", "a/b/c", "a b", ""])
def test_a_pools_name_is_a_kubernetes_name(text):
    """Nothing else could be the name of a resource."""
    with pytest.raises(SettingError):
        PoolRef.parse(text)
