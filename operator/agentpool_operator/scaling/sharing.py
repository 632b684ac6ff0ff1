"""Workers of each pool that the cluster's nodes can take, when several pools want the same room.

`share` assigns places in this order: pods under running work keep theirs; then the desired workers of each pool, higher
priority first and equals in turn, the pool with the fewest workers next (max-min fairness); then workers that are kept
warm without work, in the same order. A pool's own idle pods count as room, for itself first: so a lower priority gives
its idle workers up, never its busy workers. Last, `placeable` adds workers that would still fit.

Capacity limits growth: a worker that runs or starts keeps its place although its node offers less than before, or is
not seen, unless a different pool takes the place (`kept`). `decide` caps by both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentpool_operator.scaling.devices import DeviceId
from agentpool_operator.scaling.nodes import Node, Resources, Shape
from agentpool_operator.scaling.room import Room

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """An idle pod: its place is room, for its own pool first."""

    node: str
    requests: Resources  # of that pod, which may have an earlier template
    devices: frozenset[DeviceId] = frozenset()  # that claims have allocated for the pod


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A pool's share."""

    placeable: int  # the maximum number of workers, existing workers included
    kept: int  # of the existing workers, those that run or start and keep their places


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim(Generic[Name]):
    """A pool's part in the sharing."""

    pool: Name
    shape: Shape
    wanted: int  # desired workers
    current: int  # existing or requested workers: kept while no pool needs the room
    priority: int = 0  # higher goes first
    busy: Mapping[str, int]  # node -> pods under running work
    idle: tuple[Idle, ...]
    starting: int = 0  # workers without a node yet, which the scheduler has not refused
    most: int | None = None  # workers that the scheduler places, as its refusals show; None = no refusal


@dataclass(slots=True)
class _Account(Generic[Name]):
    """A claim during the sharing."""

    claim: Claim[Name]
    idle: list[Idle]  # own idle pods not yet taken up again
    granted: int
    in_place: int  # of the granted workers, those that exist


def share(nodes: Iterable[Node], claims: Sequence[Claim[Name]]) -> dict[Name, Grant]:
    """Return the share of each pool."""
    room = Room(nodes)
    accounts = [_release_idle(claim, room) for claim in claims]
    priorities = sorted({claim.priority for claim in claims}, reverse=True)
    for most in (_demanded, _current):
        for priority in priorities:
            _serve([a for a in accounts if a.claim.priority == priority], room, most)
    return {a.claim.pool: _grant(a, room) for a in accounts}


def _grant(account: _Account[Name], room: Room) -> Grant:
    placeable = account.granted + room.total(account.claim.shape)
    if account.claim.most is not None:
        placeable = min(placeable, account.claim.most)
    return Grant(placeable=placeable, kept=account.in_place + account.claim.starting)


def _demanded(claim: Claim[Name]) -> int:
    return claim.wanted if claim.most is None else min(claim.wanted, claim.most)


def _current(claim: Claim[Name]) -> int:
    return claim.current if claim.most is None else min(claim.current, claim.most)


def _release_idle(claim: Claim[Name], room: Room) -> _Account[Name]:
    """Grant the busy pods of a claim, and pods on unknown nodes; return the room of its idle pods to the nodes."""
    idle = [pod for pod in claim.idle if room.has(pod.node)]
    for pod in idle:
        room.release(pod.node, pod.requests, pod.devices)
    fixed = sum(claim.busy.values()) + len(claim.idle) - len(idle)
    return _Account(claim=claim, idle=idle, granted=fixed, in_place=fixed)


def _serve(accounts: Iterable[_Account[Name]], room: Room, most: Callable[[Claim[Name]], int]) -> None:
    """Assign places in turn until every claim has its maximum or finds no room."""
    hungry = [account for account in accounts if account.granted < most(account.claim)]
    while hungry:
        account = min(hungry, key=lambda a: a.granted)
        if not _place(account, room):
            hungry.remove(account)
            continue
        account.granted += 1
        if account.granted >= most(account.claim):
            hungry.remove(account)


def _place(account: _Account[Name], room: Room) -> bool:
    """Place the next worker: where an own idle pod already is, else on the fullest node that has room."""
    stays = next((pod for pod in account.idle if room.may_stay(pod.node, pod.requests, pod.devices)), None)
    if stays is not None:
        account.idle.remove(stays)
        account.in_place += 1
        room.keep(stays.node, stays.requests, stays.devices)
        return True
    place = room.fullest(account.claim.shape)
    if place is None:
        return False
    room.take(place, account.claim.shape)
    return True
