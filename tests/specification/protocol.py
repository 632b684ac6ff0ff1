"""One job's protocol: every move that a script may make with the job, and the events that the move writes. Pure.

docs/state-machine.md describes it for readers. `system` lets workers, a network and faults use the moves,
and `explore` visits all their states; `trace` holds recorded histories against the moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
WAITS = frozenset({"queued", "scheduled", "blocked", "waiting"})  # has no lease, and has not ended
SUSPECT_LOSSES = 2
UNEXPLAINED_MAX = 4
VERBS = ("succeeded", "failed", "dead", "cancelled", "drain", "preempted", "deferred", "waiting", "exhausted")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that a move writes. `detail`: the awaited signals of `waiting`, the name of `signalled`."""

    type: str
    attempt: int
    worker: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The queue's record of a job."""

    state: str = "new"
    token: int = 0
    attempt: int = 0
    holder: str = ""  # of the latest lease, which has ended unless the state is `running`
    cancelling: bool = False
    losses: int = 0
    alone: bool = False
    signals: frozenset[str] = frozenset()  # NAME=NUMBER
    awaited: frozenset[str] = frozenset()
    steps: tuple[int, ...] = ()  # the token that committed each step


@dataclass(frozen=True, slots=True)
class Rules:
    """The promises of the queue. A rule that is off is a fault: the exploration must find a broken promise."""

    fenced: bool = True  # a completion needs the live lease
    fenced_steps: bool = True  # and so does a step
    recovers: bool = True  # the jobs of a lost worker are requeued
    compares: bool = True  # a worker gives back leases whose reply was lost
    keeps_signals: bool = True  # a signal that comes before its wait is stored
    returns_steps: bool = True  # a claim returns the committed steps
    counts_attempts: bool = True  # a failed attempt counts


Move = tuple[tuple[Event, ...], Job]
SOUND = Rules()


def submit(job: Job) -> Iterator[Move]:
    """A new job is ready, waits for a time or for parents, or is cancelled because of them."""
    if job.state == "new":
        for state in ("queued", "scheduled", "blocked", "cancelled"):
            yield _move(job, state)


def claim(job: Job, worker: str) -> Iterator[Move]:
    """A worker takes a ready job under a new token."""
    if job.state == "queued":
        taken = replace(
            job, state="running", holder=worker, token=job.token + 1, attempt=job.attempt + 1, awaited=frozenset(),
            alone=job.losses >= SUSPECT_LOSSES,
        )  # fmt: skip
        yield (_event("started", taken),), taken


def settle(  # the fields of a completion
    job: Job, token: int, worker: str, verb: str, most: int, awaited: frozenset[str] = frozenset(), rules: Rules = SOUND
) -> Iterator[Move]:
    """A worker ends its lease. A completion of any other lease changes nothing."""
    if job.state in ENDED or job.state == "new" or (rules.fenced and not may_report(job, token, worker)):
        return
    job = replace(job, alone=False, losses=0 if job.alone and verb == "failed" else job.losses)
    if verb == "succeeded":
        yield _move(job, "succeeded")
    elif verb == "cancelled" or job.cancelling:
        yield _move(job, "cancelled")
    elif verb == "failed" and (job.attempt < most or not rules.counts_attempts):
        yield _move(job, "scheduled", "retrying")
    elif verb in {"failed", "dead"}:
        yield _move(job, "failed")
    elif verb == "waiting":
        yield _suspend(_uncounted(job), awaited)
    elif verb == "exhausted":
        yield from _suffer(_uncounted(job) if job.losses == 0 else job, most, poison=job.alone)
    else:
        state = "scheduled" if verb == "deferred" else "queued"
        yield _move(_uncounted(job), state, "preempted" if verb == "preempted" else "returned")


def may_report(job: Job, token: int, worker: str) -> bool:
    """Return whether this lease is the live one."""
    return job.state == "running" and job.token == token and job.holder == worker


def commit_step(job: Job, token: int, worker: str, number: int, rules: Rules = SOUND) -> Job:
    """Return the job with the step, which is stored once."""
    fenced = not rules.fenced_steps or may_report(job, token, worker)
    return replace(job, steps=(*job.steps, token)) if fenced and number == len(job.steps) + 1 else job


def lose(job: Job, most: int, *, crashed: bool) -> Iterator[Move]:
    """The worker of a running job is gone: the attempt counts, and the last one is restored if the worker crashed."""
    if job.state != "running":
        return
    alone, job = job.alone, replace(job, alone=False)
    if job.cancelling:
        yield _move(job, "cancelled")
    elif crashed:
        yield from _suffer(job, most, poison=alone)
        yield _move(_uncounted(job), "queued", "returned")  # a different job is known to be the cause
    elif job.attempt >= most:
        yield _move(job, "failed")
    else:
        yield _move(job, "queued", "recovered")


def cancel(job: Job) -> Iterator[Move]:
    """A job without a lease ends at once; a running job ends with its lease."""
    if job.state in WAITS:
        yield _move(job, "cancelled")
    elif job.state == "running" and not job.cancelling:
        yield _move(replace(job, cancelling=True), "running", "cancelling")


def signal(job: Job, name: str, rules: Rules = SOUND) -> Iterator[Move]:
    """Store a signal, and resume the job that waits for it."""
    if job.state in ENDED or job.state == "new":
        return
    number = sum(each.startswith(f"{name}=") for each in job.signals) + 1
    signalled = _event("signalled", job, name)
    if not rules.keeps_signals and job.state != "waiting":
        yield (signalled,), job
        return
    job = replace(job, signals=job.signals | {f"{name}={number}"})
    if job.state == "waiting" and job.awaited & job.signals:
        events, job = _move(job, "queued", "resumed")
        yield (signalled, *events), job
    else:
        yield (signalled,), job


def grow_ready(job: Job) -> Iterator[Move]:
    """A time has come, or the last parent has ended."""
    if job.state in {"scheduled", "blocked"}:
        yield _move(job, "queued")
    if job.state == "blocked":
        yield _move(job, "scheduled")
        yield _move(job, "cancelled")
    if job.state == "waiting":
        yield _move(job, "queued", "resumed")


def expire(job: Job) -> Iterator[Move]:
    """The time to live has passed before the first start."""
    if job.state in {"queued", "scheduled", "blocked"} and job.token == 0:
        yield _move(job, "expired")


def replay(job: Job) -> Iterator[Move]:
    """A dead letter is a new job again, under its old tokens."""
    if job.state == "failed":
        again = replace(job, state="queued", attempt=0, holder="", losses=0, cancelling=False)
        yield (_event("queued", again),), again


def _move(job: Job, state: str, event: str = "") -> Move:
    """Return the move to a state; `event`: the type of the event, if not the state's name."""
    moved = replace(job, state=state)
    return (_event(event or state, moved),), moved


def _event(name: str, job: Job, detail: str = "") -> Event:
    return Event(name, job.attempt, job.holder, detail)


def _uncounted(job: Job) -> Job:
    return replace(job, attempt=max(0, job.attempt - 1))


def _suspend(job: Job, awaited: frozenset[str]) -> Move:
    waiting = _event("waiting", job, " ".join(sorted(awaited)))
    if awaited & job.signals:
        return (waiting, _event("resumed", job)), replace(job, state="queued")
    return (waiting,), replace(job, state="waiting", awaited=awaited)


def _suffer(job: Job, most: int, *, poison: bool) -> Iterator[Move]:
    """Apply the loss of a worker. `poison`: the job ran alone; a dead letter if the worker's end is explained."""
    job = replace(job, losses=job.losses + 1)
    if poison:
        yield _move(job, "failed")
    if poison and job.losses >= UNEXPLAINED_MAX:
        return
    events = [_event("recovered", job)]
    if job.losses >= SUSPECT_LOSSES:
        events.append(_event("quarantined", job))
    yield tuple(events), replace(job, state="queued", attempt=min(job.attempt, most - 1))
