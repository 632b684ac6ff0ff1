"""A pool's conditions in each situation, and the times at which the status is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import PoolRef, Priority
from agentpool_core.queue.load import RouteLoad
from agentpool_core.queue.snapshots import QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.registry import Pools
from agentpool_operator.queue.reader import backlog_of
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.observation import Backlog
from agentpool_operator.status.conditions import findings, merge_conditions, news, ready_news
from agentpool_operator.status.patch import FIGURES, StatusWriter, status_of

NOW = 1_767_225_610.0  # 2026-01-01T00:00:10Z, seconds after the creation of the pods here


def resource(**spec):
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3, "resourceVersion": "9"},
        "spec": {"handler": {"command": {"argv": ["true"]}}, **spec},
    }


def deployment(replicas=1, *, ready=1, total=1, updated=1, owner="u"):
    return {
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "d",
            "generation": 1,
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, "replicas": total, "updatedReplicas": updated, "readyReplicas": ready},
    }


def pod(name="p-1", **waiting):
    status = {"containerStatuses": [{"name": "worker", "state": {"waiting": waiting}}]} if waiting else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": name,
            "labels": {"agentpool.dev/pool": "p"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": status,
    }


def ready_pod():
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return pod() | {"status": {"phase": "Running", "conditions": [condition]}}


@pytest.fixture
def pools():
    made = Pools()
    made.see_pool(resource())
    made.see_deployment(deployment())
    pool = made.get(PoolRef("ns", "p"))
    pool.queue.backlog, pool.queue.was_read = Backlog(), True
    pool.scaling.decision = decision()
    return made


@pytest.fixture
def pool(pools):
    return pools.get(PoolRef("ns", "p"))


def decision(cap=Cap.NONE):
    return Decision(
        mode=Mode.AUTOMATIC, replicas=1, keep=1, wanted=1, capped_by=cap, reason="because", memory=PoolMemory()
    )


def reasons(pool):
    return {finding.type.value: (finding.status, finding.reason) for finding in findings(pool, now=NOW)}


def test_a_pool_in_order_is_ready_settled_and_active(pool):
    """Each condition has the state of a pool in order."""
    assert reasons(pool) == {
        "Ready": ("True", "Serving"),
        "Progressing": ("False", "Settled"),
        "QueueReachable": ("True", "Answering"),
        "ScalingActive": ("True", "FollowingDemand"),
        "ScalingLimited": ("False", "WithinLimits"),
    }


def test_an_unreadable_queue_is_a_condition_with_its_reason(pool):
    """A queue problem shows in QueueReachable, Ready and ScalingActive."""
    pool.queue.problem = Problem(reason="SecretNotFound", message="create it")
    reported = reasons(pool)
    assert reported["QueueReachable"] == ("False", "SecretNotFound")
    assert reported["Ready"] == ("False", "SecretNotFound")
    assert reported["ScalingActive"] == ("False", "SecretNotFound")


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff"])
def test_pods_that_cannot_start_show_their_waiting_reason(pools, pool, reason):
    """The container's waiting reason reaches the conditions."""
    pools.see_deployment(deployment(ready=0))
    pools.see_pod(pod(reason=reason, message="no such image"))
    reported = {finding.type.value: finding for finding in findings(pool, now=NOW)}
    assert (reported["Ready"].status, reported["Ready"].reason) == ("False", reason)
    assert reported["Progressing"].reason == reason
    assert "no such image" in reported["Ready"].message


def refused(*, ready):
    failed = deployment(2, ready=ready, total=ready)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    failed["status"]["conditions"] = [failure]
    return failed


def test_a_pool_whose_pods_are_refused_is_ready_only_while_it_has_a_worker(pools, pool):
    """A quota, a policy or a missing ServiceAccount prevents new pods, so every job waits: the pool is not Ready."""
    pools.see_deployment(refused(ready=0))
    reported = {finding.type.value: finding for finding in findings(pool, now=NOW)}
    assert (reported["Ready"].status, reported["Ready"].reason) == ("False", "FailedCreate")
    assert reported["Ready"].message == reported["Progressing"].message == "exceeded quota"
    pools.see_pod(ready_pod())
    pools.see_deployment(refused(ready=1))
    assert reasons(pool)["Ready"] == ("True", "Serving")
    assert reasons(pool)["Progressing"] == ("False", "FailedCreate")


def test_a_ready_pod_counts_before_its_deployment_has_counted_it(pools, pool):
    """The Deployment's controller is a moment behind the pods: the condition counts the ready pod."""
    pools.see_deployment(deployment(ready=0))
    pools.see_pod(ready_pod())
    ready = next(finding for finding in findings(pool, now=NOW) if finding.type.value == "Ready")
    assert ready.message == "jobs are accepted; 1 worker ready"


def test_a_pool_whose_only_worker_takes_no_jobs_is_not_ready(pools, pool):
    """The condition names the worker and the reason, also beside a ready worker."""
    pools.see_deployment(deployment(ready=0))
    pools.see_pod(pod())
    note = "has an event loop that is blocked by the handler of 'plan' (job 7, attempt 1)"
    pool.queue.snapshot = snapshot(
        WorkerSnapshot(name="p-1", slots=0, running=1, host="", note=note, lease_expires_at_ms=9)
    )
    ready = findings(pool, now=NOW)[0]
    assert (ready.status, ready.reason) == ("False", "WorkerImpeded")
    assert ready.message == f"worker p-1 takes no jobs: it {note}"
    pools.see_pod(ready_pod())
    ready = findings(pool, now=NOW)[0]
    assert (ready.status, ready.reason) == ("True", "Serving")
    assert ready.message == f"jobs are accepted; 1 worker ready; worker p-1 takes no jobs: it {note}"


def snapshot(*workers, **fields):
    """An empty queue with these workers."""
    empty = {"routes": (), "scheduled": 0, "blocked": 0, "dead": 0, "oldest_wait_ms": None, "submitted_total": 0}
    totals = {"started_total": 0, "finished_total": 0, "run_ms_total": 0, "paused": False, "settings_revision": ""}
    return QueueSnapshot(**{"taken_at_ms": 1, "workers": workers, **empty, **totals, **fields})


def test_due_jobs_are_work_for_a_worker():
    """Without a worker no maintenance makes the jobs ready, so the pool needs a worker."""
    assert backlog_of(snapshot(due=2)).ready == 2
    assert backlog_of(snapshot()).ready == 0


def test_a_worker_that_takes_no_ordinary_jobs_is_out_of_service():
    """Such a worker has a note, or is reserved for quarantine while ordinary jobs wait."""
    able = WorkerSnapshot(name="able", slots=5, running=0, host="", lease_expires_at_ms=9)
    sick = replace(able, name="sick", slots=0, note="has no descriptors")
    waiting = RouteSnapshot(name="default", limit=None, queued={Priority.TASK: 3}, running=0)
    assert backlog_of(snapshot(able)).out_of_service == 0
    assert backlog_of(snapshot(able, sick)).out_of_service == 1
    quarantine = {"routes": (waiting,), "reserved": "able"}
    assert backlog_of(snapshot(able, sick, quarantined=1, **quarantine)).out_of_service == 2
    assert backlog_of(snapshot(able, quarantined=3, **quarantine)).out_of_service == 0


def test_a_pool_that_a_finalizer_holds_names_the_finalizer(pools, pool):
    """A deleted pool is not Ready while a finalizer holds the pool."""
    going = resource()
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"]}
    pools.see_pool(going)
    ready = findings(pool, now=NOW)[0]
    assert (ready.status, ready.reason) == ("False", "Deleting")
    assert "example.com/hold" in ready.message


def test_a_refused_size_is_a_condition(pool):
    """ScalingActive names the reason of the refusal."""
    pool.scaling.problem = Problem(reason="ScaleRefused", message="a policy")
    assert reasons(pool)["ScalingActive"] == ("False", "ScaleRefused")


def test_a_crash_is_reported_with_the_last_line_of_its_log(pools, pool):
    """The message has the exit code of the last run and its last line, shortened, but not the kubelet's pause."""
    pools.see_deployment(deployment(ready=0))
    crashed = pod(reason="CrashLoopBackOff", message="back-off 40s restarting failed container")

    def reported(**terminated):
        crashed["status"]["containerStatuses"][0]["lastState"] = {"terminated": terminated}
        pools.see_pod(crashed)
        return next(f.message for f in findings(pool, now=NOW) if f.type.value == "Ready")

    traceback = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'studio'\x1b\n\n"
    crash = reported(exitCode=1, message=traceback)
    assert "container worker ended with exit code 1: ModuleNotFoundError: No module named 'studio'; see" in crash
    assert "exit code 137 (OOMKilled); see" in reported(exitCode=137, reason="OOMKilled")
    long = reported(exitCode=1, reason="Error", message="x" * 5000)
    assert "x" * 299 + "…" in long
    assert "x" * 300 not in long


@pytest.mark.parametrize("code", [0, 1])
def test_a_crash_loop_has_the_same_condition_during_pause_and_run(pools, pool, code):
    """The worker runs for a moment between two pauses; the earlier end counts until the worker has been ready."""
    pools.see_deployment(deployment(ready=0))
    crashed = pod(reason="CrashLoopBackOff")
    (container,) = crashed["status"]["containerStatuses"]
    container |= {"restartCount": 2, "lastState": {"terminated": {"exitCode": code, "message": "no such app"}}}

    def reported(unready_since="2026-01-01T00:00:00Z", **state):
        container["state"] = state or container["state"]
        crashed["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": unready_since}]
        pools.see_pod(crashed)
        return findings(pool, now=NOW)[0]

    runs = {"startedAt": "2026-01-01T00:05:00Z"}
    end = f"container worker ended with exit code {code}: no such app"
    words = f"pod p-1 cannot start: {end}; see `kubectl describe pod p-1`"
    assert (reported().status, reported().reason, reported().message) == ("False", "CrashLoopBackOff", words)
    assert reported() == reported(running=runs) == reported(terminated={"exitCode": code})
    assert reported(running=runs, unready_since="2026-01-01T00:06:00Z").reason == "Starting"
    container["restartCount"] = 0
    assert reported(running=runs).reason == "Starting"


def test_a_worker_that_fits_on_no_node_makes_its_pool_unready(pools, pool):
    """The pool is unready from the first job on, unless a pod may wait for a new node or a worker exists."""
    pools.see_pool(resource(gpu={"perWorker": 8}))
    pool.room = Room(placeable=0, misfit="a worker asks for 8 GPUs; the largest node has 2")
    assert reasons(pool)["Ready"] == ("True", "Serving")
    pool.scaling.decision = decision(Cap.GPU_CAPACITY)
    reported = {finding.type.value: finding for finding in findings(pool, now=NOW)}
    assert (reported["Ready"].status, reported["Ready"].reason) == ("False", "NoNodeFits")
    assert reported["Ready"].message.startswith(pool.misfit)
    assert reported["ScalingLimited"].message == pool.misfit
    pools.see_pod(ready_pod())
    assert reasons(pool)["Ready"] == ("True", "Serving")
    pools.see_pod(ready_pod(), gone=True)
    pools.see_pool(resource(gpu={"perWorker": 8, "policy": "Provision", "maxPending": 1}))
    assert reasons(pool)["Ready"] == ("True", "Serving")


def test_a_foreign_deployment_blocks(pool):
    """A child problem blocks progress and scaling."""
    pool.child_problem = Problem(reason="DeploymentNotOwned", message="rename it")
    reported = reasons(pool)
    assert reported["Ready"] == ("False", "DeploymentNotOwned")
    assert reported["ScalingActive"] == ("False", "Blocked")


def test_an_unreachable_webhook_stops_neither_service_nor_scaling(pools, pool):
    """Only changes of the workers wait for the webhook, and `Progressing` has the reason."""
    served = reasons(pool)
    pool.child_problem = Problem(reason="WebhookFailed", message="repair it", stops_scaling=False)
    assert reasons(pool) == served | {"Progressing": ("False", "WebhookFailed")}
    pools.see_deployment(deployment(), gone=True)
    assert reasons(pool)["Ready"] == ("False", "WebhookFailed")


def test_manual_replicas_and_pause_stop_scaling(pools, pool):
    """Manual replicas and pause show in ScalingActive."""
    pools.see_pool(resource(replicas=3))
    assert reasons(pool)["ScalingActive"] == ("False", "ManualReplicas")
    pools.see_pool(resource(paused=True))
    assert reasons(pool)["ScalingActive"] == ("False", "Paused")


def test_a_cap_that_can_be_lifted_limits_scaling(pool):
    """MaxReplicas limits; a stabilisation window only passes."""
    pool.scaling.decision = decision(Cap.MAX_REPLICAS)
    assert reasons(pool)["ScalingLimited"] == ("True", "MaxReplicas")
    pool.scaling.decision = decision(Cap.STABILIZATION)
    assert reasons(pool)["ScalingLimited"] == ("False", "WithinLimits")


def test_the_rollout_and_the_drain_show_as_progress(pools, pool):
    """Replaced, removed and missing workers are progress."""
    pools.see_deployment(deployment(2, ready=2, total=2, updated=1))
    assert reasons(pool)["Progressing"] == ("True", "RollingOut")
    pools.see_deployment(deployment(1, ready=2, total=2, updated=2))
    assert reasons(pool)["Progressing"] == ("True", "Draining")
    pools.see_deployment(deployment(2, ready=1, total=2, updated=2))
    assert reasons(pool)["Progressing"] == ("True", "Starting")


def test_a_transition_time_moves_only_with_the_status(pool):
    """A changed reason keeps the transition time; a changed status changes the transition time."""
    old = merge_conditions([], findings(pool, now=NOW), generation=3, now="2026-01-01T00:00:00Z")
    same = merge_conditions(old, findings(pool, now=NOW), generation=4, now="2026-01-02T00:00:00Z")
    assert {c["lastTransitionTime"] for c in same} == {"2026-01-01T00:00:00Z"}
    pool.queue.problem = Problem(reason="RedisUnreachable", message="away")
    changed = {
        c["type"]: c["lastTransitionTime"]
        for c in merge_conditions(old, findings(pool, now=NOW), generation=4, now="later")
    }
    assert changed["Ready"] == "later"
    assert changed["Progressing"] == "2026-01-01T00:00:00Z"


def test_the_status_keeps_the_last_known_figures_while_the_queue_is_away(pool):
    """Unknown is not zero, in the status either."""
    pool.resource["status"] = {"queued": 7, "running": 2, "oldestWaitSeconds": 4}
    pool.queue.backlog = None
    status = status_of(pool, now=0.0)
    assert (status["queued"], status["running"], status["oldestWaitSeconds"]) == (7, 2, 4)


def test_an_invalid_spec_names_the_field(pools, pool):
    """The message of the condition contains the field of the spec."""
    broken = resource()
    broken["spec"]["scaling"] = {"maxReplicas": "many"}
    pools.see_pool(broken)
    ready = findings(pool, now=NOW)[0]
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert "spec.scaling.maxReplicas" in ready.message


class Written:
    """A cluster that stores written objects, and answers like the API server."""

    def __init__(self):
        self.queued = []

    async def merge(self, _path, body, *, manager):
        assert manager == "agentpool-status"
        self.queued.append(body["status"]["queued"])
        return resource() | {"status": {k: v for k, v in body["status"].items() if v is not None}}


async def test_the_end_of_the_work_is_written_at_once_and_figures_at_intervals(pools):
    """During work the figures wait for the interval; after the last job the status is written at once."""
    pool, cluster = pools.get(PoolRef("ns", "p")), Written()
    writer = StatusWriter(cluster, pools, gap_s=3600, record=lambda *_: None)
    for queued in (9, 5, 3, 0, 0, 2):
        pool.queue.backlog = Backlog(routes=(RouteLoad(name="all", limit=None, ready=queued, running=0),))
        await writer.write(pool)
    assert cluster.queued == [9, 0]


async def test_each_reason_and_its_end_is_a_single_event(pools):
    """A different sentence for the same reason is no event; a transient reason is no warning."""
    pool, reported = pools.get(PoolRef("ns", "p")), []
    writer = StatusWriter(Written(), pools, gap_s=3600, record=lambda _pool, *event: reported.append(event))
    away, still_away = (Problem(reason="RedisUnreachable", message=words) for words in ("away", "still away"))
    refused = Problem(reason="RedisAuthFailed", message="wrong password")
    soon = Problem(reason="SettingsMissing", message="being written")
    for problem in (None, away, still_away, refused, None, soon, None):
        pool.queue.problem = problem
        await writer.write(pool)
    assert reported == [
        ("Warning", "RedisUnreachable", "away"),
        ("Warning", "RedisAuthFailed", "wrong password"),
        ("Normal", "Serving", "jobs are accepted; 1 worker ready"),
    ]


def test_an_image_that_cannot_be_pulled_is_a_single_event():
    """The reason alternates between two words; the cause stays the same."""
    tries, rests = (
        {"type": "Ready", "status": "False", "reason": reason, "message": "no such image"}
        for reason in ("ErrImagePull", "ImagePullBackOff")
    )
    assert ready_news([], [tries]) == ("Warning", "ErrImagePull", "no such image")
    assert ready_news([tries], [rests]) is ready_news([rests], [tries]) is None


@pytest.mark.parametrize("reason", ["ImageInspectError", "PreStartHookError", "RegistryUnavailable", "SomethingNew"])
def test_any_waiting_reason_that_is_no_start_is_a_failure(pools, pool, reason):
    """A kubelet's reasons are shown unchanged, also reasons that this operator does not know."""
    pools.see_deployment(deployment(ready=0))
    pools.see_pod(pod(reason=reason, message="why"))
    assert reasons(pool)["Ready"] == ("False", reason)


def failed_pod(name, reason="UnexpectedAdmissionError"):
    return pod(name) | {"status": {"phase": "Failed", "reason": reason, "message": "no healthy devices"}}


def test_pods_that_the_nodes_keep_refusing_are_reported(pools, pool):
    """Failed pods without a ready successor make the pool unready, and their number changes no message."""
    pools.see_deployment(deployment(ready=0))
    messages = set()
    for number in range(30):
        pools.see_pod(failed_pod(f"p-{number}"))
        ready = findings(pool, now=NOW)[0]
        assert (ready.status, ready.reason) == ("False", "UnexpectedAdmissionError")
        messages.add(ready.message)
    assert len(messages) == 1
    assert "no healthy devices" in messages.pop()


def test_a_single_evicted_pod_with_a_successor_is_over(pools, pool):
    """An eviction is no lasting problem, and neither is a failure of long ago."""
    pools.see_deployment(deployment(ready=0))
    pools.see_pod(failed_pod("p-0", "Evicted"))
    pools.see_pod(pod("p-1", reason="ContainerCreating"))
    assert reasons(pool)["Ready"] == ("True", "Starting")
    for number in range(2, 5):
        pools.see_pod(failed_pod(f"p-{number}"))
    assert reasons(pool)["Ready"][0] == "False"
    assert findings(pool, now=NOW + 3600)[0].status == "True"


def test_refused_pods_beside_ready_workers_are_an_event(pools, pool):
    """The pool serves, `Progressing` has the reason, and an event reports the reason once."""
    pools.see_deployment(deployment(2, ready=1, total=2, updated=2))
    pools.see_pod(ready_pod())
    before = merge_conditions([], findings(pool, now=NOW), generation=3, now="")
    for number in range(2, 6):
        pools.see_pod(failed_pod(f"p-{number}"))
    after = merge_conditions(before, findings(pool, now=NOW), generation=3, now="")
    assert reasons(pool)["Ready"] == ("True", "Serving")
    assert reasons(pool)["Progressing"] == ("False", "UnexpectedAdmissionError")
    assert news(before, after)[:2] == ("Warning", "UnexpectedAdmissionError")
    assert news(after, after) is None


def test_a_gated_pod_is_not_a_failed_scheduling(pools, pool):
    """The scheduler has not tried to place a pod with gates."""
    pools.see_deployment(deployment(ready=0))
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gates"}
    pools.see_pod(pod() | {"status": {"phase": "Pending", "conditions": [condition]}})
    assert reasons(pool)["Ready"] == ("False", "SchedulingGated")


def test_a_refused_change_leaves_the_running_workers_scaled(pool):
    """The pool is not Ready, because the running workers do not have the spec; the size follows the demand."""
    pool.child_problem = Problem(reason="TemplateRefused", message="m", stops_scaling=False, refuses_spec=True)
    assert reasons(pool)["Ready"] == ("False", "TemplateRefused")
    assert reasons(pool)["Progressing"] == ("False", "TemplateRefused")
    assert reasons(pool)["ScalingActive"] == ("True", "FollowingDemand")
    assert pool.blocked is None


def test_a_bound_limits_the_size_of_an_unread_pool(pool):
    """`ScalingLimited` names the bound that is obeyed without a reading."""
    pool.scaling.decision = replace(decision(Cap.MIN_REPLICAS), mode=Mode.HOLD)
    assert reasons(pool)["ScalingLimited"] == ("True", "MinReplicas")


def test_the_decision_follows_its_present_reason(pool):
    """The reason of the present size is shown without a change of the size, as often as the figures."""
    pool.scaling.decided_at, pool.scaling.reason = 5.0, "4900 jobs wait"
    assert status_of(pool, now=NOW)["lastDecision"] == {"at": "1970-01-01T00:00:05Z", "reason": "4900 jobs wait"}
    assert "lastDecision" in FIGURES


def test_jobs_of_a_lost_node_wait_in_the_status(pools, pool):
    """Once the lease has ended, the worker's jobs are queued and their wait grows, so an alert can fire."""
    lost = WorkerSnapshot(name="p-1", slots=5, running=2, host="", note="", lease_expires_at_ms=40_000)
    route = RouteSnapshot(name="default", limit=None, queued={}, running=2)
    reading = snapshot(lost, taken_at_ms=100_000, routes=(route,))
    pool.queue.backlog, pool.queue.snapshot = backlog_of(reading), reading
    status = status_of(pool, now=NOW)
    assert (status["queued"], status["running"], status["oldestWaitSeconds"]) == (2, 0, 60)


def test_ready_workers_with_a_different_redis_are_reported(pools, pool):
    """A pod that is ready for a while, and is no worker of the queue, uses a different Redis."""
    pools.see_pod(ready_pod())
    pool.queue.snapshot = snapshot()
    assert findings(pool, now=NOW)[0].status == "True"
    late = findings(pool, now=NOW + 60)[0]
    assert (late.status, late.reason) == ("False", "WorkersNotRegistered")
    pool.queue.snapshot = snapshot(WorkerSnapshot(name="p-1", slots=5, running=0, host="", lease_expires_at_ms=9))
    assert findings(pool, now=NOW + 60)[0].status == "True"


def test_a_queue_of_a_different_cluster_is_reported(pool):
    """The queue is read; the condition names its owner."""
    pool.queue.foreign_owner = "uid-of-a"
    reported = {finding.type.value: finding for finding in findings(pool, now=NOW)}["QueueReachable"]
    assert (reported.status, reported.reason) == ("True", "OwnedElsewhere")
    assert "uid-of-a" in reported.message


def test_a_pod_security_standard_that_refuses_the_workers_comes_with_the_remedy(pools, pool):
    """The API server lists the fields; the page has an example."""
    refused = deployment(1, ready=0, total=0, updated=0)
    words = 'pods "p-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
    refused["status"]["conditions"] = [failure]
    pools.see_deployment(refused)
    ready = findings(pool, now=NOW)[0]
    assert ready.reason == "FailedCreate"
    assert ready.message.startswith(words)
    assert "securityContext of spec.worker.template" in ready.message
