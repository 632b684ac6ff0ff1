"""Workers of each pool that the cluster's nodes can take, when several pools want the same room.

`share` assigns places in this order: pods under running work keep theirs; then the desired workers of each pool, higher
priority first and equals in turn, the pool with the fewest workers next (max-min fairness); then workers that are kept
warm without work, in the same order. A pool's own idle pods count as room, for itself first: so a lower priority gives
its idle workers up, never its busy workers. Last, `placeable` adds workers that would still fit. `decide` caps by it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentpool_operator.scaling.nodes import Node, Shape
from agentpool_operator.scaling.room import Room

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim(Generic[Name]):
    """A pool's part in the sharing."""

    pool: Name
    shape: Shape
    wanted: int  # desired workers
    current: int  # existing or requested workers: kept while no pool needs the room
    priority: int = 0  # higher goes first
    busy: Mapping[str, int]  # node -> pods under running work
    idle: Mapping[str, int]  # node -> idle pods of the pool there


@dataclass(slots=True)
class _Account(Generic[Name]):
    """A claim during the sharing."""

    claim: Claim[Name]
    idle: dict[str, int]  # own idle pods not yet taken up again, by node
    granted: int


def share(nodes: Iterable[Node], claims: Sequence[Claim[Name]]) -> dict[Name, int]:
    """Return the maximum number of workers of each pool, existing workers included."""
    room = Room(nodes)
    accounts = [_release_idle(claim, room) for claim in claims]
    priorities = sorted({claim.priority for claim in claims}, reverse=True)
    for most in (_demanded, _current):
        for priority in priorities:
            _serve([a for a in accounts if a.claim.priority == priority], room, most)
    return {a.claim.pool: a.granted + room.total(a.claim.shape) for a in accounts}


def _demanded(claim: Claim[Name]) -> int:
    return claim.wanted


def _current(claim: Claim[Name]) -> int:
    return claim.current


def _release_idle(claim: Claim[Name], room: Room) -> _Account[Name]:
    """Grant the busy pods of a claim, and return the room of its idle pods to the nodes."""
    for place, count in claim.idle.items():
        room.release(place, claim.shape, count)
    return _Account(claim=claim, idle=dict(claim.idle), granted=sum(claim.busy.values()))


def _serve(accounts: Iterable[_Account[Name]], room: Room, most: Callable[[Claim[Name]], int]) -> None:
    """Assign places in turn until every claim has its maximum or finds no room."""
    hungry = [account for account in accounts if account.granted < most(account.claim)]
    while hungry:
        account = min(hungry, key=lambda a: a.granted)
        place = _place_for(account, room)
        if place is None:
            hungry.remove(account)
            continue
        room.take(place, account.claim.shape)
        account.granted += 1
        if account.granted >= most(account.claim):
            hungry.remove(account)


def _place_for(account: _Account[Name], room: Room) -> str | None:
    """Return the node of the next worker: that of an own idle pod, else the fullest node with room."""
    for place, count in account.idle.items():
        if count > 0 and room.fits_on(place, account.claim.shape):
            account.idle[place] -= 1
            return place
    return room.fullest(account.claim.shape)
