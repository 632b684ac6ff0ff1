"""Conditions of a pool, computed from the registry. Pure.

`Ready`: the pool serves. `Progressing`: its workers are being added, removed or replaced. `QueueReachable`: the
operator can read the queue. `ScalingActive`: the operator sets the size. `ScalingLimited`: a limit separates the size
from the demand. kstatus counts a pool as in progress while `Ready` is False or the generation has not been observed
(https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md). `patch` takes over next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentpool_core.spec import ON_ITS_WAY, ConditionType
from agentpool_core.text import one_line
from agentpool_operator.pools.views import POOL_LABEL
from agentpool_operator.scaling.decision import LIMITS, Cap, Mode
from agentpool_operator.scaling.reason_text import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.views import DeploymentView, PodView
    from agentpool_operator.status.events import EventType

Json = dict[str, Any]
Status = Literal["True", "False", "Unknown"]
OWNED_ELSEWHERE = "OwnedElsewhere"  # the reason of a queue that belongs to another cluster
LONGEST_MESSAGE = 2000  # characters: the schema would refuse a longer message, and nothing would be shown
FAILED_LATELY_SECONDS = 300.0  # age of failed pods that count
REGISTERS_WITHIN_SECONDS = 30.0  # of becoming ready
REPEATED_FAILURES = 3  # failed pods lately that show a cause which a new pod does not cure
SAME_CAUSE = {"ErrImagePull": "ImagePullBackOff"}  # a kubelet alternates between the two during retries


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A condition without its times."""

    type: ConditionType
    status: Status
    reason: str
    message: str


def findings(pool: Pool, *, now: float) -> list[Finding]:
    """Return all conditions of a pool as they are now; `now` is seconds since the epoch."""
    queue = _queue_reachable(pool)
    progressing = _progressing(pool, now)
    return [_ready(pool, queue, progressing, now), progressing, queue, _scaling_active(pool), _scaling_limited(pool)]


def merge_conditions(old: Sequence[Json], new: Sequence[Finding], *, generation: int, now: str) -> list[Json]:
    """Return the conditions for the status; a transition time moves only with the status."""
    before = {condition["type"]: condition for condition in old}
    return [
        {
            "type": finding.type.value,
            "status": finding.status,
            "observedGeneration": generation,
            "lastTransitionTime": _since(before.get(finding.type.value), finding, now),
            "reason": finding.reason,
            "message": bounded_message(finding.message),
        }
        for finding in new
    ]


def bounded_message(text: str) -> str:
    """Return a message of bounded length, without control characters: parts of it may come from a server or a user."""
    safe = one_line(text[:LONGEST_MESSAGE])
    return safe if len(safe) < LONGEST_MESSAGE else f"{safe[: LONGEST_MESSAGE - 1]}…"


def news(old: Sequence[Json], new: Sequence[Json]) -> tuple[EventType, str, str] | None:
    """Return the event for a change: of `Ready`, of the queue's owner, or of a problem that leaves ready workers.

    None = no event.
    """
    return ready_news(old, new) or _owner_news(old, new) or _problem_news(old, new)


def _owner_news(old: Sequence[Json], new: Sequence[Json]) -> tuple[EventType, str, str] | None:
    """Return the event for a queue that turns out to belong to another cluster, before a deletion relies on it."""
    kind = ConditionType.QUEUE_REACHABLE.value
    before: Json = next((condition for condition in old if condition["type"] == kind), {})
    after = next(condition for condition in new if condition["type"] == kind)
    if after["reason"] != OWNED_ELSEWHERE or before.get("reason") == OWNED_ELSEWHERE:
        return None
    return "Warning", after["reason"], after["message"]


def _problem_news(old: Sequence[Json], new: Sequence[Json]) -> tuple[EventType, str, str] | None:
    """Return the event for a new problem that only `Progressing` shows."""
    kind = ConditionType.PROGRESSING.value
    before: Json = next((condition for condition in old if condition["type"] == kind), {})
    after = next(condition for condition in new if condition["type"] == kind)
    ready = next(condition for condition in new if condition["type"] == ConditionType.READY.value)
    told = before.get("status") == "False" and _cause(before) == _cause(after)
    if after["status"] != "False" or after["reason"] in {"Settled", "Blocked"} or told or ready["status"] == "False":
        return None
    return "Warning", after["reason"], after["message"]


def ready_news(old: Sequence[Json], new: Sequence[Json]) -> tuple[EventType, str, str] | None:
    """Return the event for a change of `Ready`: type, reason and message; None = no event."""
    before = next((condition for condition in old if condition["type"] == ConditionType.READY.value), {})
    after = next(condition for condition in new if condition["type"] == ConditionType.READY.value)
    was_ill = before.get("status") == "False" and before["reason"] not in ON_ITS_WAY
    is_ill = after["status"] == "False" and after["reason"] not in ON_ITS_WAY
    if is_ill and not (was_ill and _cause(before) == _cause(after)):
        return "Warning", after["reason"], after["message"]
    if was_ill and after["status"] == "True":
        return "Normal", after["reason"], after["message"]
    return None


def _cause(condition: Json) -> str:
    reason = str(condition["reason"])
    return SAME_CAUSE.get(reason, reason)


def _since(before: Json | None, finding: Finding, now: str) -> str:
    if before is None or before.get("status") != finding.status:
        return now
    return str(before.get("lastTransitionTime") or now)


def _ready(pool: Pool, queue: Finding, progressing: Finding, now: float) -> Finding:
    blocked = _why_not_ready(pool, queue, now)
    if blocked is not None:
        return Finding(type=ConditionType.READY, status="False", reason=blocked[0], message=blocked[1])
    reason, message = "Serving", f"jobs are accepted; {count_text(_ready_count(pool), 'worker')} ready"
    if impeded := _why_no_jobs(pool):
        message += f"; {impeded[1]}"
    if pool.spec is not None and pool.spec.paused:
        reason, message = "Paused", "the pool is paused on request"
    elif progressing.reason == "Starting" and _ready_count(pool) == 0:
        reason, message = "Starting", "jobs are accepted; workers are starting"
    return Finding(type=ConditionType.READY, status="True", reason=reason, message=message)


def _why_not_ready(pool: Pool, queue: Finding, now: float) -> tuple[str, str] | None:
    """Return reason and message of the obstacle to serving; None = no obstacle."""
    if pool.deleting:
        return "Deleting", _deleting_words(pool)
    refused = pool.child_problem if pool.child_problem is not None and pool.child_problem.refuses_spec else None
    if (problem := pool.blocked or refused) is not None:
        return problem.reason, problem.message
    if queue.status != "True":
        return queue.reason, queue.message
    if pool.deployment is None or not pool.owns_deployment:
        return _child_obstacle(pool) or ("Creating", "the workers' Deployment is being created")
    if ready := [pod for pod in pool.live_pods if pod.ready]:
        return _why_not_registered(pool, ready, now)
    return _why_no_worker(pool, pool.deployment, now) or _why_no_jobs(pool)


def _child_obstacle(pool: Pool) -> tuple[str, str] | None:
    """Return reason and message of an obstacle to changing the children of a scaled pool; None = no obstacle."""
    return None if pool.child_problem is None else (pool.child_problem.reason, pool.child_problem.message)


def _why_no_worker(pool: Pool, deployment: DeploymentView, now: float) -> tuple[str, str] | None:
    """Return reason and message of an obstacle to starting or creating pods; None = no obstacle."""
    stuck = stuck_pods(pool)
    if stuck:
        return stuck[0].trouble, _stuck_words(stuck)
    if failing := _failing(pool, now):
        return failing
    if deployment.failures:
        reason, message = deployment.failures[0]
        return reason or "DeploymentFailed", message + _pod_security_words(message)
    if _no_node_fits(pool):
        return "NoNodeFits", f"{pool.misfit}; change the pool's requests, or add a node that fits"
    return None


def _pod_security_words(message: str) -> str:
    """Return the remedy for a namespace that enforces a Pod Security Standard; empty = a different failure."""
    if "violates PodSecurity" not in message:
        return ""
    return "; set the securityContext of spec.worker.template (docs/install.md, Pod Security Standards)"


def _why_no_jobs(pool: Pool) -> tuple[str, str] | None:
    """Return reason and message of a live worker that takes no jobs, in its own words; None = there is none."""
    impeded = [worker for worker in pool.snapshot.live_workers if worker.note] if pool.snapshot is not None else []
    if not impeded:
        return None
    first = min(impeded, key=lambda worker: worker.name)
    more = f" (and {count_text(len(impeded) - 1, 'other worker')})" if len(impeded) > 1 else ""
    return "WorkerImpeded", f"worker {first.name} takes no jobs{more}: it {first.note}"


def _why_not_registered(pool: Pool, ready: Sequence[PodView], now: float) -> tuple[str, str] | None:
    """Return reason and message of ready workers of which none is registered in the queue; None = one is."""
    if pool.snapshot is None or any(now - pod.ready_at < REGISTERS_WITHIN_SECONDS for pod in ready):
        return None
    registered = {worker.name for worker in pool.snapshot.live_workers}
    if any(pod.name in registered for pod in ready):
        return None
    return "WorkersNotRegistered", (
        f"{count_text(len(ready), 'worker')} ready, and none is registered in this queue: they use a different Redis, "
        f"or their queue was restored; `kubectl rollout restart deployment/{pool.ref.name}` replaces them"
    )


def _no_node_fits(pool: Pool) -> bool:
    """Return whether jobs need workers that no node could hold, and no pod may wait for a new node."""
    asked_for = pool.scaling.decision is not None and pool.scaling.decision.capped_by is Cap.GPU_CAPACITY
    return asked_for and bool(pool.misfit) and pool.gpu is not None and pool.gpu.max_pending == 0


def _deleting_words(pool: Pool) -> str:
    holders = ", ".join(pool.resource["metadata"].get("finalizers") or [])
    waits = f"; the object disappears when these finalizers have been removed: {holders}" if holders else ""
    return f"the pool is being deleted and no longer scaled{waits}"


def _ready_count(pool: Pool) -> int:
    """Return the number of ready workers; the pods count where the Deployment's own number is behind them."""
    counted_up = pool.deployment.ready if pool.deployment is not None else 0
    return max(counted_up, sum(pod.ready for pod in pool.live_pods))


def stuck_pods(pool: Pool) -> list[PodView]:
    """Return pods that will not start by waiting, the oldest first, without pods that may wait for nodes."""
    found = [pod for pod in pool.live_pods if pod.trouble and not pod.ready]
    unplaced = sorted((p for p in found if p.trouble == "FailedScheduling"), key=lambda p: p.created_at)
    others = sorted((p for p in found if p.trouble != "FailedScheduling"), key=lambda p: p.created_at)
    may_wait = pool.gpu.max_pending if pool.gpu is not None else 0
    return others + unplaced[may_wait:]


def _failing(pool: Pool, now: float) -> tuple[str, str] | None:
    """Return reason and message of pods that the nodes keep refusing, or that fail without a successor; None = none.

    A single failed pod with a successor is over: an eviction, for example. The message names no pod and no number,
    because a Deployment may replace hundreds of failed pods in a minute.
    """
    lately = [pod for pod in pool.pods.values() if pod.failed and now - pod.created_at < FAILED_LATELY_SECONDS]
    wanted = pool.deployment is not None and pool.deployment.replicas > _ready_count(pool)
    if not lately or not wanted or (pool.live_pods and len(lately) < REPEATED_FAILURES):
        return None
    (reason, detail), _ = Counter((pod.trouble, pod.trouble_message) for pod in lately).most_common(1)[0]
    command = f"kubectl get pods -l {POOL_LABEL}={pool.ref.name} --field-selector=status.phase=Failed"
    return reason, f"pods fail before they serve: {detail or reason}; see `{command}`"


def _stuck_words(stuck: Sequence[PodView]) -> str:
    first = stuck[0]
    more = f" (and {count_text(len(stuck) - 1, 'other pod')})" if len(stuck) > 1 else ""
    detail = first.trouble_message or first.trouble  # the condition's reason is the trouble: once is enough
    return f"pod {first.name} cannot start{more}: {detail}; see `kubectl describe pod {first.name}`"


def _progressing(pool: Pool, now: float) -> Finding:
    status, reason, message = _progress(pool, now)
    return Finding(type=ConditionType.PROGRESSING, status=status, reason=reason, message=message)


def _progress(pool: Pool, now: float) -> tuple[Status, str, str]:
    if pool.blocked is not None:
        return "False", "Blocked", "blocked by the problem in the condition Ready"
    obstacle = _child_obstacle(pool)
    if obstacle is not None:
        return "False", *obstacle
    if pool.deployment is None or not pool.owns_deployment:
        return "True", "Creating", "the workers' Deployment is being created"
    blocked = _why_no_worker(pool, pool.deployment, now)
    if blocked is not None:
        return "False", *blocked
    return _movement(pool, pool.deployment)


def _movement(pool: Pool, deployment: DeploymentView) -> tuple[Status, str, str]:
    leaving = sum(1 for pod in pool.pods.values() if pod.terminating)
    if deployment.paused:
        return "False", "RolloutPaused", _paused_words(pool.ref.name)
    if deployment.total > deployment.replicas or (deployment.replicas == 0 and leaving):
        return "True", "Draining", "workers that are no longer needed finish their jobs and leave"
    if deployment.updated < min(deployment.replicas, deployment.total):
        return "True", "RollingOut", "workers are being replaced to follow a changed template"
    if deployment.ready < deployment.replicas:
        return "True", "Starting", f"{count_text(deployment.replicas - deployment.ready, 'worker')} on the way"
    if deployment.changed_by_others:
        return "False", "ChangedByOthers", _foreign_words(deployment.changed_by_others)
    return "False", "Settled", "the number of workers is as desired"


def _paused_words(name: str) -> str:
    return (
        "the rollout of the Deployment is paused, so a changed template does not reach the workers; "
        f"`kubectl rollout resume deployment/{name}` continues the rollout"
    )


def _foreign_words(changes: str) -> str:
    return (
        f"the number of workers is as desired; their Deployment has fields that the AgentPool does not set: "
        f"{changes}; move them to spec.worker.template, or remove them from the Deployment"
    )


def _queue_reachable(pool: Pool) -> Finding:
    if pool.queue.problem is not None:
        status: Status = "False"
        reason, message = pool.queue.problem.reason, pool.queue.problem.message
    elif pool.queue.foreign_owner:
        status, reason, message = "True", OWNED_ELSEWHERE, _foreign_owner_words(pool)
    elif pool.queue.was_read:
        status, reason, message = "True", "Answering", "the queue is read and its settings are published"
    else:
        status, reason, message = "Unknown", "NotReadYet", "the queue has not been read yet"
    return Finding(type=ConditionType.QUEUE_REACHABLE, status=status, reason=reason, message=message)


def _foreign_owner_words(pool: Pool) -> str:
    return (
        f"the queue of this name on this Redis belongs to an AgentPool of the cluster {pool.queue.foreign_owner}: its "
        "settings apply, its jobs are shared, and the deletion of this AgentPool keeps the queue, whatever "
        "deletionPolicy says; name a different Redis, database or pool"
    )


def _active_finding(pool: Pool) -> Finding:
    kind = ConditionType.SCALING_ACTIVE
    if pool.scaling.problem is not None:
        return Finding(
            type=kind, status="False", reason=pool.scaling.problem.reason, message=pool.scaling.problem.message
        )
    if pool.scaling.decision is None:
        return Finding(type=kind, status="Unknown", reason="NotDecidedYet", message="no decision has been made yet")
    return Finding(type=kind, status="True", reason="FollowingDemand", message="the size follows the queue")


def _scaling_active(pool: Pool) -> Finding:
    def finding(status: Status, reason: str, message: str) -> Finding:
        return Finding(type=ConditionType.SCALING_ACTIVE, status=status, reason=reason, message=message)

    if pool.spec is not None and pool.spec.replicas is not None:
        return finding(
            "False", "ManualReplicas", f"spec.replicas fixes the size at {pool.spec.replicas}; remove it to scale again"
        )
    if pool.spec is not None and pool.spec.paused:
        return finding("False", "Paused", "spec.paused stops new claims; running jobs finish")
    if pool.blocked is not None:
        return finding("False", "Blocked", "scaling is blocked by the problem in the condition Ready")
    if pool.queue.problem is not None:
        words = "the size is held within minReplicas and maxReplicas, because the queue cannot be read"
        return finding("False", pool.queue.problem.reason, words)
    return _active_finding(pool)


def _scaling_limited(pool: Pool) -> Finding:
    decision = pool.scaling.decision
    limited = decision is not None and decision.mode in {Mode.AUTOMATIC, Mode.HOLD} and decision.capped_by in LIMITS
    if decision is None or not limited:
        return Finding(
            type=ConditionType.SCALING_LIMITED, status="False", reason="WithinLimits", message="no limit applies"
        )
    return Finding(
        type=ConditionType.SCALING_LIMITED, status="True", reason=decision.capped_by.value, message=_cap_words(pool)
    )


def _refusal_words(pool: Pool) -> str:
    refusal = pool.room.refusal
    return refusal and f"the scheduler places {count_text(pool.placeable or 0, 'worker')} of this pool: {refusal}"


def _cap_words(pool: Pool) -> str:
    """Describe the limit, without constantly changing numbers: a condition is not a log."""
    decision, spec = pool.scaling.decision, pool.spec
    if decision is None or spec is None:
        return ""
    room = count_text(pool.placeable or 0, "worker")
    words = {
        "MaxReplicas": f"more than spec.scaling.maxReplicas ({spec.scaling.max_replicas}) workers are needed",
        "MinReplicas": f"spec.scaling.minReplicas ({spec.scaling.min_replicas}) keeps workers that no job needs",
        "Schedule": "one of spec.scaling.schedules keeps workers that no job needs",
        "Pattern": "spec.scaling.learnPatterns keeps workers that no job needs yet",
        "RouteLimit": "jobs wait for a route at its maxRunning, or for one of spec.queue.limits",
        "ScaleUpPolicy": "spec.scaling.behavior.scaleUp slows the scale-out",
        "ScaleDownPolicy": "spec.scaling.behavior.scaleDown slows the scale-in",
        "GPUCapacity": pool.misfit or _refusal_words(pool) or f"the nodes have room for {room} of this pool",
    }
    return words.get(decision.capped_by.value, decision.reason)
