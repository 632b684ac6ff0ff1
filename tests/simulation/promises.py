"""Promises that a history shows beyond those of the judge and the specification. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tests.judge.histories import ENDS
from tests.simulation.program import SIGNALS

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent
    from tests.simulation.load import Load
    from tests.simulation.program import Facts
    from tests.simulation.workload import Plan

PLAIN_LIVES = frozenset({"queued", "started", "returned", "preempted", "recovered", "succeeded", "failed", "cancelled"})
PATIENCE_MS = {"critical": 0, "task": 60_000, "info": 600_000}  # the pool's settings, which are the defaults
LATE_MS = 1_500  # for a job whose time to live has passed: a round of maintenance
PROMPT_MS = 1_000  # for whatever nothing hinders


def broken_in_history(events: list[JobEvent], jobs: Mapping[str, Job], load: Load) -> Iterator[str]:
    """Yield the promises that the events break."""
    plans = {plan.job_id: plan for plan in load.jobs}
    yield from _order(events, jobs, plans)
    yield from _parents(events, plans)
    yield from _signals(jobs, load)
    cancelling: set[str] = set()
    for event in events:
        if event.type == "cancelling":
            cancelling.add(event.job_id)
        elif event.type == "started" and event.job_id in cancelling:
            yield f"{event.job_id} started again after it was cancelled"


def _order(events: list[JobEvent], jobs: Mapping[str, Job], plans: Mapping[str, Plan]) -> Iterator[str]:
    """Among ready jobs of a route, the first by time and patience of the priority starts first."""
    types: dict[str, set[str]] = {}
    for event in events:
        types.setdefault(event.job_id, set()).add(event.type)
    simple = {
        name: job.route
        for name, job in jobs.items()
        if types[name] <= PLAIN_LIVES and name in plans and not plans[name].is_limited
    }
    ready: dict[str, int] = {}
    for event in events:
        name = event.job_id
        if name not in simple:
            continue
        if event.type == "started":
            since = ready.pop(name, 0)
            for other, earlier in ready.items():
                if simple[other] == simple[name] and earlier < since:
                    yield f"{name} started before {other}, which was before it"
        elif event.type in {"queued", "returned", "preempted", "recovered"}:
            ready[name] = (jobs[name].enqueued_at_ms or 0) + PATIENCE_MS[jobs[name].priority]
        else:
            ready.pop(name, None)


def _parents(events: list[JobEvent], plans: Mapping[str, Plan]) -> Iterator[str]:
    """A job starts when its parents have ended as it wants them to."""
    ends: dict[str, str] = {}
    for event in events:
        if event.type in ENDS:
            ends[event.job_id] = event.type
        if event.type != "started" or event.job_id not in plans or "after" not in plans[event.job_id].options:
            continue
        options = plans[event.job_id].options
        found = {parent: ends.get(parent) for parent in options["after"]}
        if not _may_start(options["after_condition"], list(found.values())):
            yield f"{event.job_id} started after {options['after_condition']}, and its parents are {found}"


def _may_start(condition: str, ends: list[str | None]) -> bool:
    if None in ends:
        return False
    succeeded = [end == "succeeded" for end in ends]
    return {"succeeded": all(succeeded), "finished": True, "failed": not all(succeeded)}[condition]


def _signals(jobs: Mapping[str, Job], load: Load) -> Iterator[str]:
    """Each signal is delivered once, to the wait for its name, in the order of their coming."""
    wanted = [value for name in ("go", "on") for signal, value in SIGNALS if signal == name]
    for plan in load.jobs:
        job = jobs.get(plan.job_id)
        if plan.kind == "waits" and job is not None and job.state == "succeeded" and job.result != wanted:
            yield f"{plan.job_id} was given the signals {job.result}, not {wanted}"


def broken_times(events: list[JobEvent], load: Load) -> Iterator[str]:
    """Yield delays of a schedule without faults, in which slots are always free and clocks agree."""
    losses = [event for event in events if event.type in {"recovered", "quarantined"}]
    yield from (f"{event.job_id} was {event.type}, and no worker was lost" for event in losses)
    plans = {plan.job_id: plan for plan in load.jobs}
    yield from _late_signals(events, load)
    since: dict[tuple[str, str], int] = {}
    ready_ms: dict[str, int] = {}  # for the first time
    for event in events:
        name = event.job_id
        if event.type == "queued" and event.attempt == 0:
            ready_ms.setdefault(name, event.at_ms)
        for begun, ends in (("queued", {"started"}), ("resumed", {"started"}), ("cancelling", ENDS)):
            if event.type == begun:
                since[name, begun] = event.at_ms
            elif event.type in ends or event.type in ENDS:
                waited = event.at_ms - since.pop((name, begun), event.at_ms)
                if waited > PROMPT_MS and name in plans and not plans[name].is_limited:
                    yield f"{name} was {event.type} {waited} ms after it was {begun}"
        if event.type in ENDS and name in load.told_ms and load.told_ms[name] > event.at_ms + PROMPT_MS:
            yield f"the client was told of the end of {name} {load.told_ms[name] - event.at_ms} ms later"
        if event.type == "started" and name in plans and (ttl := plans[name].options.get("ttl")) is not None:
            waited = event.at_ms - ready_ms.pop(name, event.at_ms)  # no more after the first start
            if waited > ttl * 1000 + LATE_MS:
                yield f"{name} started {waited} ms after it was ready, and may wait {ttl} s"


def _late_signals(events: list[JobEvent], load: Load) -> Iterator[str]:
    """A job that has all its signals goes on at once."""
    started: dict[str, int] = {}
    for event in events:
        name = str(event.job_id)
        if event.type == "started":
            started.setdefault(name, event.at_ms)
        elif event.type in ENDS and name in load.signalled_ms and name in started:
            waited = event.at_ms - max(started[name], load.signalled_ms[name])
            if waited > 2 * PROMPT_MS:
                yield f"{name} ended {waited} ms after its signals"


def broken_for_handlers(
    events: list[JobEvent], jobs: Mapping[str, Job], load: Load, facts: Facts, output: Mapping[str, list[object]]
) -> Iterator[str]:
    """Yield the promises that the handlers' own record shows broken."""
    yield from facts.broken
    claims = Counter(str(event.job_id) for event in events if event.type == "started")
    for name, starts in facts.starts.items():
        if len(starts) > claims[name] and not facts.forgotten:
            yield f"{name} ran {len(starts)} times with {claims[name]} claims"
    for plan in load.jobs:
        wanted = {
            parent: jobs[parent].result
            for parent in plan.options.get("after", ())
            if parent in jobs and jobs[parent].state == "succeeded"
        }
        if not facts.forgotten and facts.parents.get(plan.job_id, wanted) != wanted:
            yield f"{plan.job_id} got the results {facts.parents[plan.job_id]} of its parents, not {wanted}"
    for name, emitted in facts.emitted.items():
        missing = Counter(map(str, emitted)) - Counter(map(str, output.get(name, [])))
        if missing:
            yield f"{name} has lost the output {sorted(missing)}"
        if doubled := Counter(map(str, output.get(name, []))) - Counter(map(str, facts.tried[name])):
            yield f"{name} has the output {sorted(doubled)} twice"
