"""Convert an AgentPool's spec to the inputs of scaling decision and placement. Pure.

`agentpool_core.spec.settings_of` resolves the queue's settings; this module the rest: the scaling policy, and the shape
of a worker's pod as the scheduler will see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_core.kube.quantities import amount_of
from agentpool_core.spec import concurrency_of
from agentpool_operator.scaling.nodes import EXCLUSIVE, Requirement, Shape
from agentpool_operator.scaling.patterns import raised_minimum
from agentpool_operator.scaling.policy import Behavior, RatePolicy, ScalingPolicy, ScalingRules, WaitTarget
from agentpool_operator.scaling.taints import Taint, Toleration
from agentpool_operator.scaling.timetable import Period, minimum_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agentpool_core.spec import AgentPoolSpec
    from agentpool_core.spec.scaling import MinimumSchedule
    from agentpool_core.spec.scaling import ScalingRules as RulesSpec

Json = dict[str, Any]
HOSTNAME = "kubernetes.io/hostname"
UP_WINDOW_SECONDS = 0.0  # HPA's default for scaling up
DOWN_WINDOW_SECONDS = 120.0  # documented default of the spec


def policy_of(spec: AgentPoolSpec, at: float, past_loads: Mapping[int, float]) -> ScalingPolicy:
    """Return the scaling policy of a spec at a time, in seconds since 1970; see `patterns` for the past loads."""
    scaling = spec.scaling
    minimum = minimum_at(scaling.min_replicas, map(_period, scaling.schedules), at)
    if scaling.learn_patterns:
        minimum = raised_minimum(minimum, past_loads, slots=concurrency_of(spec), most=scaling.max_replicas)
    return ScalingPolicy(
        concurrency=concurrency_of(spec),
        gpu_memory_mib=spec.worker.gpu_memory_mib or 0,
        min_replicas=minimum.replicas,
        schedule=minimum.schedule,
        pattern=minimum.pattern,
        max_replicas=scaling.max_replicas,
        manual_replicas=spec.replicas,
        paused=spec.paused,
        target_wait_s=scaling.target_wait_seconds,
        targets=tuple(
            WaitTarget(priority=target.priority, percentile=target.percentile, wait_s=target.wait_seconds)
            for target in scaling.targets
        ),
        idle_s=scaling.idle_seconds,
        learns_hold=scaling.behavior.scale_down.stabilization_window_seconds is None,
        behavior=Behavior(
            up=_rules(scaling.behavior.scale_up, UP_WINDOW_SECONDS),
            down=_rules(scaling.behavior.scale_down, DOWN_WINDOW_SECONDS),
        ),
    )


def _period(schedule: MinimumSchedule) -> Period:
    return Period(
        name=schedule.name,
        start=schedule.start,
        end=schedule.end,
        time_zone=schedule.time_zone,
        min_replicas=schedule.min_replicas,
    )


def _rules(rules: RulesSpec, default_window_s: float) -> ScalingRules:
    window = rules.stabilization_window_seconds
    return ScalingRules(
        stabilization_s=default_window_s if window is None else window,
        select=rules.select_policy,
        policies=tuple(RatePolicy(kind=p.type, value=p.value, period_s=p.period_seconds) for p in rules.policies),
    )


def shape_of(template: Json) -> Shape:
    """Return a pod template's node requirements. Raises AttributeError or TypeError for an invalid shape.

    The template is an open part of the spec, so all results are texts and numbers, for any input.
    """
    pod = template.get("spec") or {}
    affinity = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    return Shape(
        requests={**requests_of(pod), **places_of(template)},
        node_name=str(pod.get("nodeName") or ""),
        node_selector={str(key): str(value) for key, value in (pod.get("nodeSelector") or {}).items()},
        affinity=tuple(_term(term) for term in affinity.get("nodeSelectorTerms") or []),
        tolerations=tolerations_of(pod),
        claim_templates=tuple(
            str(claim["resourceClaimTemplateName"])
            for claim in pod.get("resourceClaims") or []
            if claim.get("resourceClaimTemplateName")  # a shared claim exists before the worker
        ),
    )


def tolerations_of(thing: Json) -> tuple[Toleration, ...]:
    """Return the tolerations of a pod, or of a request for devices."""
    return tuple(
        Toleration(
            key=str(t.get("key", "")),
            operator=str(t.get("operator") or "Equal"),
            value=str(t.get("value", "")),
            effect=str(t.get("effect", "")),
        )
        for t in thing.get("tolerations") or []
    )


def taints_of(thing: Json) -> tuple[Taint, ...]:
    """Return the taints of a node's spec, or of a device."""
    return tuple(
        Taint(key=t.get("key", ""), value=t.get("value", ""), effect=t.get("effect", ""))
        for t in thing.get("taints") or []
    )


def _term(term: Json) -> tuple[Requirement, ...]:
    def requirement(expression: Json, *, on_field: bool) -> Requirement:
        return Requirement(
            key=str(expression.get("key", "")),
            operator=str(expression.get("operator", "")),
            values=tuple(str(value) for value in expression.get("values") or ()),
            on_field=on_field,
        )

    return (
        *(requirement(e, on_field=False) for e in term.get("matchExpressions") or []),
        *(requirement(e, on_field=True) for e in term.get("matchFields") or []),
    )


def requests_of(pod: Json) -> dict[str, int]:
    """Return the scheduler's reservation for a pod: its containers together, or the largest init step if larger.

    Init containers with restartPolicy Always run beside later containers. A limit without a request counts as a
    request. Source: the Kubernetes documentation, "Resource sharing within containers" of init and sidecar containers.
    """
    total = _sum(_requests(container) for container in pod.get("containers") or [])
    beside: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            beside = _sum((beside, _requests(container)))
            peak = _maximum(peak, beside)
        else:
            peak = _maximum(peak, _sum((beside, _requests(container))))
    needed = _with_pod_level(_maximum(_sum((total, beside)), peak), pod)
    return {**_sum((needed, _amounts(pod.get("overhead") or {}))), "pods": 1}


def _with_pod_level(needed: dict[str, int], pod: Json) -> dict[str, int]:
    """Replace the containers' sum by the pod's own requests; a limit counts where nothing is requested."""
    stated = pod.get("resources") or {}
    limits, requests = (_amounts(stated.get(part) or {}) for part in ("limits", "requests"))
    return {**limits, **needed, **requests}


def places_of(template: Json) -> dict[str, int]:
    """Return the places that a pod or a pod template needs and that a node has once, as exclusive resources."""
    pod = template.get("spec") or {}
    containers = [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]
    ports = [port for container in containers for port in container.get("ports") or []]
    field = "containerPort" if pod.get("hostNetwork") else "hostPort"
    taken = {f"{EXCLUSIVE}port:{p[field]}:{p.get('protocol') or 'TCP'}": 1 for p in ports if p.get(field)}
    if (owner := _alone_on_a_node(template)) is not None:
        taken[f"{EXCLUSIVE}pod:{owner}"] = 1
    return taken


def _alone_on_a_node(template: Json) -> str | None:
    """Return the labels that a pod refuses as its neighbours and has itself; None = it takes neighbours like itself.

    Source: `requiredDuringSchedulingIgnoredDuringExecution` of pod anti-affinity with the key `HOSTNAME`.
    """
    labels = (template.get("metadata") or {}).get("labels") or {}
    anti = ((template.get("spec") or {}).get("affinity") or {}).get("podAntiAffinity") or {}
    for term in anti.get("requiredDuringSchedulingIgnoredDuringExecution") or []:
        wanted = (term.get("labelSelector") or {}).get("matchLabels") or {}
        plain = not (term.get("labelSelector") or {}).get("matchExpressions")
        if plain and term.get("topologyKey") == HOSTNAME and all(labels.get(k) == v for k, v in wanted.items()):
            return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))
    return None


def _requests(container: Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amounts(quantities: Json) -> dict[str, int]:
    return {name: amount_of(name, str(quantity)) for name, quantity in quantities.items()}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _maximum(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}
