"""Next step of a StatefulSet for its numbered pods. Pure.

A single pod at a time and in order, unless the pod management policy is Parallel: creation upwards, each pod after the
pod below is ready; deletion and update downwards, each pod after the rest is ready.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_devcluster.controllers.pod_state import is_finished, is_ready
from agentpool_devcluster.controllers.rollout import wanted_replicas
from agentpool_devcluster.kube.objects import KubeObject, is_terminating, labels_of, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REVISION_LABEL = "controller-revision-hash"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The pods to create, by ordinal, and to delete now."""

    create: Sequence[int] = ()
    delete: Sequence[KubeObject] = field(default=())


def ordinal_of(stateful_set: KubeObject, pod: KubeObject) -> int | None:
    """Return the pod's number; None if the name does not belong to this set."""
    prefix, _, number = name_of(pod).rpartition("-")
    return int(number) if prefix == name_of(stateful_set) and number.isdecimal() else None


def next_step(stateful_set: KubeObject, pods: Sequence[KubeObject], revision: str) -> Step:
    """Return the next action for the set's pods; `revision` names the present template."""
    spec = stateful_set["spec"]
    by_ordinal = {number: pod for pod in pods if (number := ordinal_of(stateful_set, pod)) is not None}
    first = int((spec.get("ordinals") or {}).get("start") or 0)
    wanted = range(first, first + wanted_replicas(spec))
    parallel = spec.get("podManagementPolicy") == "Parallel"
    dead = [pod for pod in by_ordinal.values() if is_finished(pod) and not is_terminating(pod)]
    if dead:
        return Step(delete=dead)
    missing = [number for number in wanted if number not in by_ordinal]
    surplus = [by_ordinal[number] for number in sorted(by_ordinal, reverse=True) if number not in wanted]
    if parallel and (missing or surplus):
        return Step(create=missing, delete=[pod for pod in surplus if not is_terminating(pod)])
    for number in wanted:
        pod = by_ordinal.get(number)
        if pod is None:
            return Step(create=[number])
        if not parallel and (is_terminating(pod) or not is_ready(pod)):
            outdated = not is_terminating(pod) and labels_of(pod).get(REVISION_LABEL) != revision
            return Step(delete=[pod] if outdated and _rolls(spec, number) else [])
    if surplus:
        return Step(delete=[] if any(is_terminating(pod) for pod in by_ordinal.values()) else surplus[:1])
    return _update(stateful_set, by_ordinal, revision)


def _update(stateful_set: KubeObject, by_ordinal: Mapping[int, KubeObject], revision: str) -> Step:
    """Replace the highest pod of an old revision once the rest is ready."""
    for number in sorted(by_ordinal, reverse=True):
        pod = by_ordinal[number]
        if is_terminating(pod):
            return Step()
        if labels_of(pod).get(REVISION_LABEL) != revision:
            return Step(delete=[pod] if _rolls(stateful_set["spec"], number) else [])
        if not is_ready(pod):
            return Step()
    return Step()


def _rolls(spec: Mapping[str, object], number: int) -> bool:
    """Return whether the update strategy replaces the pod of that number."""
    strategy = spec.get("updateStrategy")
    settings = strategy if isinstance(strategy, dict) else {}
    if settings.get("type") == "OnDelete":
        return False
    return number >= int((settings.get("rollingUpdate") or {}).get("partition") or 0)
