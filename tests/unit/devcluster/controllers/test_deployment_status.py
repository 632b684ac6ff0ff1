"""The status of a Deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agentpool_devcluster.controllers.deployment_status import seconds_to_deadline, status_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def replica_set(name, wanted, available):
    status = {"replicas": wanted, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": {"name": name}, "spec": {"replicas": wanted}, "status": status}


def deployment(replicas=3, status=None, **spec):
    metadata = {"name": "web", "generation": 2}
    return {"metadata": metadata, "spec": {"replicas": replicas, **spec}, "status": status or {}}


def condition(status, kind):
    return next(one for one in status["conditions"] if one["type"] == kind)


def test_counts_are_summed_over_revisions():
    """Updated counts the current revision alone; the rest counts all."""
    status = status_of(deployment(), replica_set("new", 2, 1), [replica_set("old", 2, 2)], NOW)
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (4, 2, 3)
    assert status["unavailableReplicas"] == 1
    assert status["observedGeneration"] == 2


def test_a_rollout_goes_from_created_over_updated_to_available():
    """The reasons of Progressing follow the rollout."""
    one = deployment()
    reasons = []
    for available in (0, 1, 3):
        one["status"] = status_of(one, replica_set("new", 3, available), [], NOW)
        reasons.append(condition(one["status"], "Progressing")["reason"])
    assert reasons == ["NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable"]
    assert condition(one["status"], "Available")["status"] == "True"


def test_a_rollout_that_does_not_move_is_called_stuck():
    """After the deadline Progressing is False; the time of the next check is known beforehand."""
    one = deployment(progressDeadlineSeconds=60)
    one["status"] = status_of(one, replica_set("new", 3, 0), [], NOW)
    one["status"] = status_of(one, replica_set("new", 3, 0), [], NOW)
    assert seconds_to_deadline(one, one["status"], NOW) == 60
    late = NOW + timedelta(seconds=61)
    one["status"] = status_of(one, replica_set("new", 3, 0), [], late)
    stuck = condition(one["status"], "Progressing")
    assert (stuck["status"], stuck["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert seconds_to_deadline(one, one["status"], late) is None


def test_pausing_and_resuming_are_conditions():
    """Progressing is Unknown while paused and when resumed."""
    one = deployment(paused=True)
    one["status"] = status_of(one, replica_set("new", 3, 3), [], NOW)
    assert condition(one["status"], "Progressing")["reason"] == "DeploymentPaused"
    one["spec"]["paused"] = False
    one["status"] = status_of(one, replica_set("new", 3, 3), [], NOW)
    assert condition(one["status"], "Progressing")["reason"] == "DeploymentResumed"
    one["status"] = status_of(one, replica_set("new", 3, 3), [], NOW)
    assert condition(one["status"], "Progressing")["reason"] == "NewReplicaSetAvailable"
