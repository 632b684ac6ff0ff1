"""Next number of replicas for each revision of a Deployment. Pure.

One step at a time: `plan` is called again after every change, and an empty plan means no action. The arithmetic is that
of the Kubernetes controller, so surge and availability hold at every moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_PERCENTAGE = "25%"  # of both maxSurge and maxUnavailable

Plan = Mapping[str, int]
"""Replicas to set, by the revision's name; revisions left out stay as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """A ReplicaSet of the Deployment."""

    name: str  # the ReplicaSet's name
    wanted: int  # spec.replicas
    available: int  # status.availableReplicas
    pods: int = 0  # existing pods that have not finished, including terminating pods
    ceiling: int = 0  # the most replicas the Deployment allowed when this revision was last scaled; 0 unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """How old gives way to new."""

    recreate: bool  # all old pods must be gone before the first new pod
    max_surge: int  # pods above the wanted number
    max_unavailable: int  # pods that may be missing from the wanted number


def strategy_of(spec: Mapping[str, Any]) -> Strategy:
    """Return the strategy of a Deployment's spec, with percentages resolved against its replicas."""
    replicas = wanted_replicas(spec)
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Strategy(recreate=True, max_surge=0, max_unavailable=replicas)
    rolling = strategy.get("rollingUpdate") or {}
    surge = _resolve(rolling.get("maxSurge", DEFAULT_PERCENTAGE), replicas, math.ceil)
    unavailable = _resolve(rolling.get("maxUnavailable", DEFAULT_PERCENTAGE), replicas, math.floor)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # both rounded to nothing: the rollout must be able to move
    return Strategy(recreate=False, max_surge=surge, max_unavailable=min(unavailable, replicas))


def wanted_replicas(spec: Mapping[str, Any]) -> int:
    """Return `spec.replicas`, 1 if not set."""
    replicas = spec.get("replicas")
    return 1 if replicas is None else int(replicas)


def plan(wanted: int, strategy: Strategy, new: Revision, old: Sequence[Revision]) -> Plan:
    """Return the next step of a rollout towards `wanted` replicas of `new`; `old` is in order of age."""
    if strategy.recreate:
        return _plan_recreate(wanted, new, old)
    grown = first_size(wanted, strategy, new, old)
    if grown != new.wanted:
        return {new.name: grown}
    return _shrink_old(wanted, strategy, new, old)


def first_size(wanted: int, strategy: Strategy, new: Revision, old: Sequence[Revision]) -> int:
    """Return the size that the new revision may have now, beside the old revisions."""
    if strategy.recreate:
        return wanted if not any(revision.wanted or revision.pods for revision in old) else 0
    if new.wanted >= wanted:
        return wanted
    room = wanted + strategy.max_surge - new.wanted - sum(revision.wanted for revision in old)
    return new.wanted + max(min(room, wanted - new.wanted), 0)


def _plan_recreate(wanted: int, new: Revision, old: Sequence[Revision]) -> Plan:
    lowered = {revision.name: 0 for revision in old if revision.wanted}
    if lowered:
        return lowered
    if new.wanted != wanted and not any(revision.pods for revision in old):
        return {new.name: wanted}
    return {}


def _shrink_old(wanted: int, strategy: Strategy, new: Revision, old: Sequence[Revision]) -> Plan:
    """Shrink old revisions: first pods that are not ready, then as many as new pods can replace."""
    sizes = {revision.name: revision.wanted for revision in old}
    least = wanted - strategy.max_unavailable
    spare = sum(sizes.values()) + new.wanted - least - max(new.wanted - new.available, 0)
    if not any(sizes.values()) or spare <= 0:
        return {}
    for revision in old:
        unhealthy = min(max(revision.wanted - revision.available, 0), spare)
        sizes[revision.name] -= unhealthy
        spare -= unhealthy
    surplus = new.available + sum(revision.available for revision in old) - least
    for revision in old:
        if surplus <= 0:
            break
        taken = min(sizes[revision.name], surplus)
        sizes[revision.name] -= taken
        surplus -= taken
    return {revision.name: sizes[revision.name] for revision in old if sizes[revision.name] != revision.wanted}


def plan_scaling(wanted: int, strategy: Strategy, newest: Revision | None, revisions: Sequence[Revision]) -> Plan:
    """Spread a change of `spec.replicas` over the revisions, without advancing the rollout.

    A single live revision takes all. During a rolling update each revision changes in proportion to its size, and the
    largest takes the rounding remainder. `newest` is the current revision, None if not created yet.
    """
    live = [revision for revision in revisions if revision.wanted > 0]
    sole = live[0] if len(live) == 1 else (newest if not live else None)
    if sole is not None:
        return {sole.name: wanted} if sole.wanted != wanted else {}
    if newest is not None and newest.wanted == wanted and newest.available >= wanted:
        return {revision.name: 0 for revision in live if revision.name != newest.name}
    if strategy.recreate:
        return {}
    return _plan_proportional(wanted, strategy, live)


def _plan_proportional(wanted: int, strategy: Strategy, live: Sequence[Revision]) -> Plan:
    allowed = wanted + strategy.max_surge if wanted > 0 else 0
    missing = allowed - sum(revision.wanted for revision in live)
    ordered = sorted(live, key=lambda revision: -revision.wanted)
    sizes = {revision.name: revision.wanted for revision in ordered}
    left = missing
    for revision in ordered:
        share = round(revision.wanted * allowed / (revision.ceiling or sum(sizes.values()) or 1)) - revision.wanted
        share = max(min(share, left), 0) if missing > 0 else min(max(share, left), 0)
        sizes[revision.name] = max(revision.wanted + share, 0)
        left -= share
    if ordered and left:
        sizes[ordered[0].name] = max(sizes[ordered[0].name] + left, 0)
    return {revision.name: sizes[revision.name] for revision in ordered if sizes[revision.name] != revision.wanted}


def _resolve(value: Any, replicas: int, rounding: Any) -> int:
    """Return a number or a percentage of the replicas."""
    if isinstance(value, str) and value.endswith("%"):
        return int(rounding(int(value[:-1]) * replicas / 100))
    return int(value)
