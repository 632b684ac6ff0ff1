"""Reasons of a delayed pod on a node: selection of pods, times of reading, selection of the event."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import ForbiddenError
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.views import rfc3339
from agentpool_operator.status import pod_events
from agentpool_operator.status.pod_events import FORBIDDEN_RETRY_SECONDS, PASS_SECONDS, REREAD_SECONDS, PodEventWatch

BOUND = 1_000_000.0  # seconds since the epoch: when the pods get their nodes
LATE = BOUND + PASS_SECONDS


class Server:
    """Events by the uid of the pod; records the requested pods, and refuses closed namespaces."""

    def __init__(self):
        self.events = {}
        self.asked = []
        self.forbidden = set()  # namespaces

    async def list(self, path, *, fieldSelector):  # noqa: N803 - the name in the API
        uid = fieldSelector.removeprefix("involvedObject.uid=").removesuffix(",type=Warning")
        self.asked.append(uid)
        if path.split("/")[4] in self.forbidden:
            raise ForbiddenError(request=f"GET {path}", status=403, message='cannot list resource "events"')
        return self.events.get(uid, []), "1"

    def taken(self):
        """Return the pods requested since the last call."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pools():
    return Pools()


@pytest.fixture
def look(server, pools):
    return PodEventWatch(server, pools, leading=lambda: True).run_once


def add(pools, name, *pods, namespace="ns"):
    """Add a pool with pods in set-up; each pod has a name and the seconds that the pod waited for a node."""
    metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    for pod, waited in pods:
        metadata = {"name": pod, "namespace": namespace, "uid": pod, "resourceVersion": "1"}
        metadata |= {"labels": {"agentpool.dev/pool": name}, "creationTimestamp": rfc3339(BOUND - waited)}
        bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(BOUND)}
        status = {"phase": "Pending", "conditions": [bound]}
        pools.see_pod({"metadata": metadata, "spec": {"nodeName": "n"}, "status": status})
    return pools.get(PoolRef(namespace, name))


def event(reason, *, made=BOUND, last=BOUND):
    return {
        "metadata": {"creationTimestamp": rfc3339(made)},
        "reason": reason,
        "message": f"why {reason}",
        "lastTimestamp": rfc3339(last),
    }


async def test_events_before_the_node_do_not_explain_the_delay(server, pools, look):
    """A warning of the scheduler may seem newer than a warning of the node, because clocks differ."""
    pod = add(pools, "p", ("w", 60)).pods["w"]
    server.events["w"] = [
        event("FailedScheduling", last=BOUND + 1),
        event("NoQuota", made=BOUND - 9, last=BOUND + 1),
    ]
    await look(now=LATE)
    assert pools.get(PoolRef("ns", "p")).pods["w"] == pod
    server.events["w"] += [event("FailedMount", last=BOUND - 3600), event("NetworkNotReady", last=BOUND - 3601)]
    await look(now=LATE)
    reported = pools.get(PoolRef("ns", "p")).pods["w"]
    assert (reported.trouble, reported.trouble_message) == ("FailedMount", "why FailedMount")


async def test_the_time_of_a_pod_counts_from_its_node(server, pools, look):
    """The wait for the node does not matter."""
    add(pools, "p", ("w", 3600))
    await look(now=LATE - 1)
    assert server.taken() == []
    await look(now=LATE)
    assert server.taken() == ["w"]


async def test_the_oldest_pod_of_each_pool_is_read_until_its_reason_is_known(server, pools, look):
    """The condition shows the oldest pod; later the pod is read at intervals, because the reason may change."""
    pool = add(pools, "p", ("young", 1), ("old", 9))
    for _ in range(2):
        await look(now=LATE)
        assert server.taken() == ["old"]
    server.events["old"] = [event("FailedMount")]
    await look(now=LATE)
    assert pool.pods["old"].trouble == "FailedMount"
    server.taken()
    await look(now=LATE + REREAD_SECONDS - 1)
    assert server.taken() == []
    server.events["old"] = [event("FailedAttachVolume")]
    await look(now=LATE + REREAD_SECONDS)
    assert pool.pods["old"].trouble == "FailedAttachVolume"


async def test_a_large_number_of_pools_takes_turns(server, pools, look, monkeypatch):
    """Pools without a known reason do not exclude the rest."""
    monkeypatch.setattr(pod_events, "AT_ONCE", 2)
    for number in range(5):
        add(pools, f"p{number}", (f"w{number}", 9 - number))
    looks = []
    for at in range(3):
        await look(now=LATE + at)
        looks.append(server.taken())
    assert looks == [["w0", "w1"], ["w2", "w3"], ["w4", "w0"]]


async def test_a_missing_right_to_list_events_is_logged_once_and_checked_rarely(server, pools, look, caplog):
    """Permitted namespaces are read meanwhile; the closed namespace is read once the right exists."""
    server.forbidden = {"closed"}
    closed = [add(pools, name, (name, 9), namespace="closed") for name in ("c", "d")]
    add(pools, "p", ("w", 1))
    await look(now=LATE)
    assert server.taken() == ["c", "d", "w"]
    await look(now=LATE + FORBIDDEN_RETRY_SECONDS - 1)
    assert server.taken() == ["w"]
    await look(now=LATE + FORBIDDEN_RETRY_SECONDS)
    (line,) = caplog.messages
    assert "in closed " in line
    assert "list events" in line
    server.forbidden = set()
    server.events["c"] = [event("FailedMount")]
    await look(now=LATE + 2 * FORBIDDEN_RETRY_SECONDS)
    assert closed[0].pods["c"].trouble == "FailedMount"
