"""The start-up time of workers, learned from their pods."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.views import pod_view

REF = PoolRef("ns", "p")


def pod(*, ready_at=None, started_at=None, scheduled_at=None):
    conditions = [{"type": "Ready", "status": "True" if ready_at else "False", "lastTransitionTime": ready_at}]
    if scheduled_at:
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled_at})
    return {
        "metadata": {
            "name": "p-1",
            "namespace": "ns",
            "uid": "1",
            "labels": {"agentpool.dev/pool": "p"},
            "creationTimestamp": "2026-01-01T12:00:00Z",
        },
        "status": {"conditions": conditions, "startTime": started_at},
    }


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"ready_at": "2026-01-01T12:00:30Z"}, 30.0),
        ({"ready_at": "2026-01-01T12:00:30Z", "started_at": "2026-01-01T12:00:10Z"}, 20.0),
        (
            {
                "ready_at": "2026-01-01T12:00:30Z",
                "started_at": "2026-01-01T12:00:10Z",
                "scheduled_at": "2026-01-01T12:00:09Z",
            },
            29.0,
        ),
        ({"ready_at": "2026-01-01T13:00:30Z", "started_at": "2026-01-01T13:00:10Z"}, 20.0),  # a node an hour ahead
        ({"ready_at": "2026-01-01T11:00:30Z", "started_at": "2026-01-01T11:00:10Z"}, 20.0),  # and the next is behind
        ({}, None),
    ],
)
def test_a_start_is_measured_by_a_single_clock_at_a_time(times, seconds):
    """The control plane's clock counts until the pod has a node, then the node's; their difference does not count."""
    assert pod_view(pod(**times)).startup_s == seconds


def test_a_worker_that_is_ready_again_has_not_started_again():
    """A loss of readiness, such as during an outage of Redis, is no start."""
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    pool = pools.get(REF)
    for times, learned in (
        ({}, ()),
        ({"ready_at": "2026-01-01T12:00:30Z"}, (30.0,)),
        ({}, ()),
        ({"ready_at": "2026-01-01T15:00:00Z"}, ()),
    ):
        pools.see_pod(pod(**times))
        assert observation_of(pool, now=0.0, at=0.0).startup_samples_s == learned
        pool.note_starts()
