"""Hold a recorded history against the protocol: some move must have written each event at that moment.

A job's history may fit several lives, because events do not tell everything (a deferred job and a returned job look the
same), so the validation keeps all lives that still fit, as trace validation of TLA+ specifications does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.specification import protocol
from tests.specification.protocol import ENDED, VERBS, Event, Job, Move

# Remarks: no state of the protocol depends on them, so their absence cannot be seen.
REMARKS = frozenset({"progress", "yielding"})


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the submitter of a job knows."""

    most: int = 1_000  # attempts
    after: tuple[str, ...] = ()
    delayed: bool = False


class Recorded(Protocol):
    """An event of the record. The fields are those of the HTTP API's events."""

    type: str
    job_id: str
    attempt: int
    worker: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Life:
    """A life that fits so far, and the events that its last move has yet to write."""

    job: Job
    owed: tuple[Event, ...] = ()


def refusals(
    history: Iterable[Recorded], submitted: Mapping[str, Submitted], *, complete: bool = True
) -> Iterator[str]:
    """Yield a sentence for each job whose history fits no life.

    `complete`: every job of `submitted` must have a history that ends.
    """
    lives: dict[str, frozenset[Life]] = {}
    ended: set[str] = set()
    refused: set[str] = set()
    for number, event in enumerate(history):
        name = event.job_id
        if name in refused or event.type in REMARKS:
            continue
        known = submitted.get(name, Submitted())
        before = lives.get(name, frozenset({Life(Job())}))
        fitting = {after for life in before for after in _after(life, event, known.most)}
        if name not in lives:
            born = _born(known, ended)
            fitting = {life for life in fitting if life.job.state in born}
        lives[name] = frozenset(fitting)
        if event.type in ENDED:
            ended.add(name)
        if not fitting:
            refused.add(name)
            states = " or ".join(sorted({life.job.state for life in before}))
            yield f"event {number}: {name} {event.type} (attempt {event.attempt}, {event.worker}) while {states}"
    if complete:
        yield from _unended(lives, (submitted.keys() | lives.keys()) - refused)


def _born(known: Submitted, ended: set[str]) -> set[str]:
    """Return the possible first states of a job."""
    gone = ended.intersection(known.after)
    ready = "scheduled" if known.delayed else "queued"
    return {"blocked" if len(gone) < len(set(known.after)) else ready} | ({"cancelled"} if gone else set())


def _unended(lives: Mapping[str, Collection[Life]], names: Iterable[str]) -> Iterator[str]:
    for name in sorted(names):
        left = lives.get(name, ())
        if not any(life.job.state in ENDED and not life.owed for life in left):
            yield f"the history of {name} stops in {sorted(life.job.state for life in left) or 'nothing'}"


def _after(life: Life, event: Recorded, most: int) -> Iterator[Life]:
    if life.owed:
        if _is_recorded(life.owed[0], event):
            yield Life(life.job, life.owed[1:])
        return
    for events, job in _moves(life.job, event, most):
        if _is_recorded(events[0], event):
            yield Life(job, events[1:])


def _is_recorded(event: Event, recorded: Recorded) -> bool:
    return (event.type, event.attempt, event.worker) == (recorded.type, recorded.attempt, recorded.worker or "")


def _moves(job: Job, event: Recorded, most: int) -> Iterator[Move]:
    """Return all moves that the protocol permits now; the record gives the names that it may choose freely."""
    detail = event.detail or ""
    yield from protocol.submit(job)
    yield from protocol.claim(job, event.worker or "")
    for verb in VERBS if job.cancelling else set(VERBS) - {"cancelled"}:  # a worker cancels only on request
        yield from protocol.settle(job, job.token, job.holder, verb, most, frozenset(detail.split()))
    yield from protocol.lose(job, most, crashed=True)
    yield from protocol.lose(job, most, crashed=False)
    yield from protocol.cancel(job)
    yield from protocol.signal(job, detail)
    yield from protocol.grow_ready(job)
    yield from protocol.expire(job)
    yield from protocol.replay(job)
