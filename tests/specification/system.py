"""Workers, a network and faults around the protocol: everything that may happen to a few jobs. Pure.

The network delivers a request late, often, or never: a request stays in it for ever. A worker whose lease was lost does
not notice, until it registers again; the process of a worker may end at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.specification import protocol
from tests.specification.protocol import ENDED, SOUND, Job, Rules

WORKERS = ("v", "w")
GO = frozenset({"go=1"})


@dataclass(frozen=True, slots=True)
class Run:
    """A handler at work: what its worker believes to hold."""

    job: int
    token: int
    done: int  # steps
    asked: str = ""  # the request that has no answer yet


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a worker: a completion's verb, or `step`."""

    worker: int
    job: int
    token: int
    verb: str
    step: int = 0  # the number of the step


@dataclass(frozen=True, slots=True)
class Bounds:
    """The size of the world."""

    jobs: int = 1
    limit: int = 1  # jobs that run at once
    tokens: int = 3
    attempts: int = 2
    steps: int = 1
    faults: int = 2  # lost leases and ended processes
    cancels: bool = True
    waits: bool = True


@dataclass(frozen=True, slots=True)
class System:
    """A state of the world."""

    jobs: tuple[Job, ...]
    registered: tuple[bool, ...] = (True, True)
    runs: tuple[frozenset[Run], ...] = (frozenset(), frozenset())
    network: frozenset[Request] = frozenset()
    signalled: frozenset[int] = frozenset()  # jobs whose signal was sent
    faults: int = 0
    broken: str = ""  # a promise that a move has broken


@dataclass(frozen=True, slots=True)
class Next:
    """A possible move. `fair`: the move happens at last if it stays possible; faults and wishes of users need not."""

    label: str
    state: System
    fair: bool = False


def moves(now: System, bounds: Bounds, rules: Rules = SOUND) -> Iterator[Next]:
    """Return everything that can happen next."""
    for number, job in enumerate(now.jobs):
        yield from _queue_moves(now, number, job, bounds, rules)
    for worker in range(len(WORKERS)):
        yield from _claims(now, worker, bounds, rules)
        yield from _handlers(now, worker, bounds)
        yield from _losses(now, worker, bounds, rules)
    for request in now.network:
        yield from _deliveries(now, request, bounds, rules)


def promises(before: System, now: System, bounds: Bounds) -> str:
    """Return the promise that this move has broken, as a sentence; empty if none."""
    if now.broken:
        return now.broken
    if sum(job.state == "running" for job in now.jobs) > bounds.limit:
        return "more jobs run than the limit permits"
    for number, (was, job) in enumerate(zip(before.jobs, now.jobs, strict=True)):
        live = sum(run.job == number and run.token == job.token for runs in now.runs for run in runs)
        broken = {
            "a job changed after its end": was.state in ENDED and job != was,
            "a token fell, or a job has too many attempts": job.token < was.token or job.attempt > bounds.attempts,
            "two workers hold the live lease": job.state == "running" and live > 1,
            "a job succeeded without all of its steps": job.state == "succeeded" and len(job.steps) < bounds.steps,
        }
        for sentence, is_broken in broken.items():
            if is_broken:
                return sentence
    return ""


def _put(now: System, number: int, job: Job) -> System:
    return replace(now, jobs=(*now.jobs[:number], job, *now.jobs[number + 1 :]))


def _queue_moves(now: System, number: int, job: Job, bounds: Bounds, rules: Rules) -> Iterator[Next]:
    if job.state == "new":
        yield Next(f"submit {number}", _put(now, number, replace(job, state="queued")), fair=True)
    if job.state == "scheduled":
        for _, ready in protocol.grow_ready(job):
            yield Next(f"due {number}", _put(now, number, ready), fair=True)
    if bounds.waits and number not in now.signalled:
        for _, signalled in protocol.signal(job, "go", rules):
            sent = replace(now, signalled=now.signalled | {number})
            yield Next(f"signal {number}", _put(sent, number, signalled), fair=True)
    if bounds.cancels:
        for _, ended in protocol.cancel(job):
            yield Next(f"cancel {number}", _put(now, number, ended))


def _claims(now: System, worker: int, bounds: Bounds, rules: Rules) -> Iterator[Next]:
    """A worker with a free slot claims; the reply may be lost."""
    room = sum(job.state == "running" for job in now.jobs) < bounds.limit
    if not now.registered[worker] or now.runs[worker] or not room:
        return
    for number, job in enumerate(now.jobs):
        if job.token < bounds.tokens:
            for _, taken in protocol.claim(job, WORKERS[worker]):
                after = _put(now, number, taken)
                run = Run(number, taken.token, len(taken.steps) if rules.returns_steps else 0)
                yield Next(f"{WORKERS[worker]} claims {number}", _with_runs(after, worker, {run}), fair=True)
                yield Next(f"{WORKERS[worker]} claims {number}, the reply is lost", after)


def _handlers(now: System, worker: int, bounds: Bounds) -> Iterator[Next]:
    """A handler goes on by one request."""
    for run in now.runs[worker]:
        if run.asked:
            continue
        job = now.jobs[run.job]
        verbs = {"failed", "drain", *(["cancelled"] if job.cancelling else [])}
        if run.done < bounds.steps:
            verbs.add("step")
        else:
            verbs.add("succeeded")
        if bounds.waits and job.token < bounds.tokens:
            verbs.add("waiting")
        for verb in verbs:
            request = Request(worker, run.job, run.token, verb, run.done + 1 if verb == "step" else 0)
            after = _with_runs(replace(now, network=now.network | {request}), worker, {replace(run, asked=verb)})
            if verb == "step" and any(token < run.token for token in job.steps[run.done : run.done + 1]):
                after = replace(after, broken="a step that was committed under an earlier lease ran again")
            fair = verb in {"step", "succeeded", "cancelled"}
            yield Next(f"{WORKERS[worker]} asks {verb} of {run.job} under {run.token}", after, fair=fair)


def _deliveries(now: System, request: Request, bounds: Bounds, rules: Rules) -> Iterator[Next]:
    """A request reaches the queue, perhaps again; the worker gets the answer, or does not."""
    job = now.jobs[request.job]
    if request.verb == "step":
        results = [protocol.commit_step(job, request.token, WORKERS[request.worker], request.step, rules)]
    else:
        name = WORKERS[request.worker]
        ends = protocol.settle(job, request.token, name, request.verb, bounds.attempts, GO, rules)
        results = [after for _, after in ends] or [job]
    for after in results:
        label = f"{WORKERS[request.worker]}'s {request.verb} of {request.job} under {request.token} arrives"
        changed = _put(now, request.job, after)
        if after != job and not protocol.may_report(job, request.token, WORKERS[request.worker]):
            changed = replace(changed, broken="a request of an earlier lease changed the job")
        yield Next(f"{label}, the answer is lost", changed)
        yield Next(label, _answer(changed, request), fair=True)


def _answer(now: System, request: Request) -> System:
    """The worker learns that its step is stored, or that its lease has ended."""
    kept = set()
    for run in now.runs[request.worker]:
        asked = Request(request.worker, run.job, run.token, run.asked, run.done + 1 if run.asked == "step" else 0)
        if asked != request:
            kept.add(run)
        elif request.verb == "step" and protocol.may_report(now.jobs[run.job], run.token, WORKERS[request.worker]):
            kept.add(replace(run, done=run.done + 1, asked=""))
    return _with_runs(now, request.worker, kept)


def _losses(now: System, worker: int, bounds: Bounds, rules: Rules) -> Iterator[Next]:
    """A lease lapses, a process ends, a worker registers again, or gives back leases that it does not know."""
    name = WORKERS[worker]
    if now.registered[worker] and now.faults < bounds.faults:
        gone = replace(now, faults=now.faults + 1)
        if now.runs[worker]:
            yield Next(f"{name}'s process ends", _with_runs(gone, worker, set()))
        lapsed = replace(gone, registered=tuple(on and each != worker for each, on in enumerate(gone.registered)))
        yield Next(f"{name}'s lease lapses", _recovered(lapsed, worker, bounds, rules))
    if not now.registered[worker]:
        again = replace(now, registered=tuple(on or each == worker for each, on in enumerate(now.registered)))
        lasting = worker == len(WORKERS) - 1  # any other worker may be gone for ever
        yield Next(f"{name} registers again", _with_runs(again, worker, set()), fair=lasting)
    elif rules.compares:
        known = {(run.job, run.token) for run in now.runs[worker]}
        for number, job in enumerate(now.jobs):
            if job.state == "running" and job.holder == name and (number, job.token) not in known:
                for _, back in protocol.settle(job, job.token, name, "drain", bounds.attempts):
                    yield Next(f"{name} does not know {number}", _put(now, number, back), fair=True)


def _recovered(now: System, worker: int, bounds: Bounds, rules: Rules) -> System:
    for number, job in enumerate(now.jobs):
        if rules.recovers and job.state == "running" and job.holder == WORKERS[worker]:
            _, after = next(protocol.lose(job, bounds.attempts, crashed=True))
            now = _put(now, number, after)
    return now


def _with_runs(now: System, worker: int, runs: set[Run]) -> System:
    return replace(now, runs=(*now.runs[:worker], frozenset(runs), *now.runs[worker + 1 :]))
