"""Computing a pod's status from the pod's containers."""

from __future__ import annotations

import pytest

from agentpool_devcluster.node.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    record_from_status,
)
from agentpool_devcluster.node.pod_status import PodFacts, phase_of, qos_class, status_of

AT = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"


def record(state, **values):
    return ContainerRecord(name=values.pop("name", "main"), image="i", state=state, **values)


def facts(*main, **values):
    defaults = {
        "init": (),
        "sidecars": frozenset(),
        "initialized": True,
        "set_up": True,
        "finished": False,
        "pod_ip": "127.70.0.2",
        "host_ip": "127.0.0.1",
        "started_at": AT,
    }
    return PodFacts(main=main, **{**defaults, **values})


def done(code):
    return Terminated(exit_code=code, reason="Error" if code else "Completed")


@pytest.mark.parametrize(
    ("facts_", "phase"),
    [
        (facts(record(Waiting(reason="ContainerCreating"))), "Pending"),
        (facts(record(Running(started_at=AT))), "Running"),
        (facts(record(Waiting(reason="CrashLoopBackOff"), last=done(1))), "Running"),
        (facts(record(done(0)), finished=True), "Succeeded"),
        (facts(record(done(0)), record(done(3)), finished=True), "Failed"),
        (facts(record(Running(started_at=AT)), initialized=False), "Pending"),
        (facts(record(Running(started_at=AT)), failure=("Evicted", "")), "Failed"),
    ],
)
def test_the_phase_follows_the_containers(facts_, phase):
    """The rules for Pending, Running, Succeeded and Failed are the kubelet's."""
    assert phase_of(facts_) == phase


def conditions(status):
    return {condition["type"]: condition for condition in status["conditions"]}


def test_a_pod_is_ready_when_all_its_containers_are():
    """An unready container makes the pod unready, and the message names the container."""
    ready = record(Running(started_at=AT), ready=True, started=True)
    slow = record(Running(started_at=AT), name="slow")
    pod = {"metadata": {"name": "p"}, "spec": {}}
    reported = conditions(status_of(pod, facts(ready, slow), AT))["Ready"]
    assert (reported["status"], reported["reason"]) == ("False", "ContainersNotReady")
    assert reported["message"] == "containers with unready status: [slow]"
    assert conditions(status_of(pod, facts(ready), AT))["Ready"]["status"] == "True"


def test_a_transition_time_moves_only_with_the_status():
    """A second report of the same readiness keeps the first time."""
    running = record(Running(started_at=AT), ready=True)
    pod = {"metadata": {"name": "p"}, "spec": {}}
    pod["status"] = status_of(pod, facts(running), AT)
    assert conditions(status_of(pod, facts(running), LATER))["Ready"]["lastTransitionTime"] == AT
    running.ready = False
    assert conditions(status_of(pod, facts(running), LATER))["Ready"]["lastTransitionTime"] == LATER


def test_a_run_before_the_restart_of_the_node_counts_as_lost():
    """A container that was running ended with the node; the number of restarts is kept."""
    status = {"name": "main", "restartCount": 2, "state": {"running": {"startedAt": AT}}}
    found = record_from_status({"name": "main", "image": "i"}, status, LATER)
    assert isinstance(found.state, Terminated)
    assert (found.state.reason, found.state.exit_code, found.restarts) == ("ContainerStatusUnknown", 137, 2)


def test_quality_of_service_follows_requests_and_limits():
    """Equal limits guarantee, some make burstable, none is best effort."""

    def pod(**resources):
        return {"spec": {"containers": [{"resources": resources}]}}

    assert qos_class(pod()) == "BestEffort"
    assert qos_class(pod(requests={"cpu": "1"})) == "Burstable"
    assert qos_class(pod(limits={"cpu": "1", "memory": "1Gi"})) == "Guaranteed"
