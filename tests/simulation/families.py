"""Promises to jobs that belong together: parents with their children, and suspects with the jobs beside them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tests.judge.histories import ENDS, GIVE_BACK

if TYPE_CHECKING:
    from agentpool_core.jobs import Job, JobEvent
    from tests.simulation.load import Load

STOP_MS = 1_000  # for children to learn that they are not needed


def broken_groups(events: list[JobEvent], jobs: Mapping[str, Job], load: Load) -> Iterator[str]:
    """Yield the broken promises to jobs that belong together."""
    yield from _at_once(events, jobs, load)
    yield from _suspects(events)


def _at_once(events: list[JobEvent], jobs: Mapping[str, Job], load: Load) -> Iterator[str]:
    """No more children of a group run at once than it allows."""
    most = {plan.job_id: plan.at_once for plan in load.jobs if plan.kind == "parent" and plan.at_once}
    running: dict[str, set[str]] = defaultdict(set)
    for event in events:
        parent = jobs[event.job_id].started_by
        if parent not in most:
            continue
        if event.type == "started":
            running[parent].add(event.job_id)
            if len(running[parent]) > most[parent]:
                yield f"{len(running[parent])} children of {parent} run at once, not {most[parent]}"
        elif event.type in GIVE_BACK or event.type in ENDS:
            running[parent].discard(event.job_id)


def _suspects(events: list[JobEvent]) -> Iterator[str]:
    """After the loss of its workers a job runs alone in its worker, and no two such jobs run at once."""
    suspects: set[str] = set()
    running: dict[str, str | None] = {}  # job: its worker
    for event in events:
        if event.type == "quarantined":
            suspects.add(event.job_id)
        elif event.type == "started":
            beside = [name for name, worker in running.items() if worker == event.worker]
            if beside and (event.job_id in suspects or suspects.intersection(beside)):
                yield f"{event.job_id} started in {event.worker} beside {beside}, and a suspect runs alone"
            if event.job_id in suspects and suspects.intersection(running):
                yield f"the suspect {event.job_id} started, and {suspects.intersection(running)} run"
            running[event.job_id] = event.worker
        elif event.type in GIVE_BACK or event.type in ENDS:
            running.pop(event.job_id, None)
            if event.type != "recovered":
                suspects.discard(event.job_id)


def late_children(events: list[JobEvent], jobs: Mapping[str, Job], load: Load) -> Iterator[str]:
    """Yield the children that went on after their group, or the tree that they belong to, was to stop."""
    kinds = {plan.job_id: plan.kind for plan in load.jobs}
    stops = dict(load.trees_ms)
    stops |= {
        str(event.job_id): event.at_ms
        for event in events
        if event.type in {"cancelled", "failed"} and kinds.get(event.job_id) == "parent"
    }
    for event in events:
        parent = jobs[event.job_id].started_by
        stop = stops.get(parent) if parent is not None else None
        if stop is not None and event.type in {"started", "succeeded"} and event.at_ms > stop + STOP_MS:
            yield f"{event.job_id} {event.type} {event.at_ms - stop} ms after its parent {parent} was to stop"
        if event.type == "failed" and kinds.get(parent or "") == "parent":
            ended = [other.at_ms for other in events if other.job_id == parent and other.type in ENDS]
            if not ended or ended[0] > event.at_ms + STOP_MS:
                yield f"{parent} has not ended {STOP_MS} ms after its child {event.job_id} failed"
