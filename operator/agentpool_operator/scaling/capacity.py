"""How many workers of each pool the cluster's nodes can take, when several pools want the same room.

`share` gives out places in this order: pods under running work keep theirs; then what each pool wants,
higher priority first and equals in turn, the pool that has least going next (max-min fairness); then workers
that are kept warm without work, in the same order. A pool's own idle pods count as room, for itself first:
so a lower priority gives its idle workers up, never its busy ones. Last, `placeable` adds what would still
fit. `decide` caps by it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentpool_operator.scaling.nodes import Node, Shape, fits

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim(Generic[Name]):
    """One pool's part in the sharing."""

    pool: Name
    shape: Shape
    wanted: int  # workers that it should have
    current: int  # workers that it has, or has asked for: kept where nobody needs the room
    priority: int = 0  # higher goes first
    busy: Mapping[str, int]  # node -> pods under running work
    idle: Mapping[str, int]  # node -> other pods of the pool that hold a place there


@dataclass(slots=True)
class _Account(Generic[Name]):
    """A claim while it is being served."""

    claim: Claim[Name]
    places: list[str]  # nodes that the shape may run on
    idle: dict[str, int]  # own idle pods not yet taken up again, by node
    granted: int


def share(nodes: Iterable[Node], claims: Sequence[Claim[Name]]) -> dict[Name, int]:
    """Workers that each pool may have at most, those it has included."""
    by_name = {node.name: node for node in nodes}
    free = {name: dict(node.free) for name, node in by_name.items()}
    shapes = _distinct(claim.shape for claim in claims)  # many pools, few shapes: the nodes are gone through for each
    places = [[name for name, node in by_name.items() if shape.allowed_on(node)] for shape in shapes]
    accounts = [_opened(claim, places[shapes.index(claim.shape)], free) for claim in claims]
    for priority in sorted({claim.priority for claim in claims}, reverse=True):
        _serve([a for a in accounts if a.claim.priority == priority], free, lambda claim: claim.wanted)
    for priority in sorted({claim.priority for claim in claims}, reverse=True):
        _serve([a for a in accounts if a.claim.priority == priority], free, lambda claim: claim.current)
    room = [
        sum(fits(free[place], shape.requests) for place in some) for shape, some in zip(shapes, places, strict=True)
    ]
    return {a.claim.pool: a.granted + room[shapes.index(a.claim.shape)] for a in accounts}


def _distinct(shapes: Iterable[Shape]) -> list[Shape]:
    found: list[Shape] = []
    for shape in shapes:
        if shape not in found:
            found.append(shape)
    return found


def _opened(claim: Claim[Name], places: list[str], free: dict[str, dict[str, int]]) -> _Account[Name]:
    """The claim with its busy pods granted and its idle pods' room given back to the nodes."""
    for place, count in claim.idle.items():
        if place in free:
            _take(free[place], claim.shape, -count)
    return _Account(
        claim=claim,
        places=places,
        idle=dict(claim.idle),
        granted=sum(claim.busy.values()),
    )


def _serve(accounts: list[_Account[Name]], free: dict[str, dict[str, int]], most: Callable[[Claim[Name]], int]) -> None:
    """Gives places in turn until every claim has its most or finds no room."""
    hungry = [account for account in accounts if account.granted < most(account.claim)]
    while hungry:
        account = min(hungry, key=lambda a: a.granted)
        place = _place_for(account, free)
        if place is None:
            hungry.remove(account)
            continue
        _take(free[place], account.claim.shape, 1)
        account.granted += 1
        if account.granted >= most(account.claim):
            hungry.remove(account)


def _place_for(account: _Account[Name], free: dict[str, dict[str, int]]) -> str | None:
    """Where the next worker goes: where an own idle pod already is, else the fullest node that has room."""
    requests = account.claim.shape.requests
    for place, count in account.idle.items():
        if count > 0 and fits(free.get(place, {}), requests) > 0:
            account.idle[place] -= 1
            return place
    room = [(fits(free[place], requests), place) for place in account.places]
    return min(((count, place) for count, place in room if count > 0), default=(0, None))[1]


def _take(free: dict[str, int], shape: Shape, count: int) -> None:
    for name, amount in shape.requests.items():
        free[name] = free.get(name, 0) - amount * count
