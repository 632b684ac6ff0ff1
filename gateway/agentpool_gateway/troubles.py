"""Troubles of a pool in words, the worst first: for the list of pools, which is in this order. Pure.

`overview` reads the pools.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from agentpool_core.documents import Document
from agentpool_core.durations import format_duration
from agentpool_core.queue.load import lost_workers
from agentpool_core.queue.snapshots import QueueSnapshot
from agentpool_core.text import format_count

STARTED_WITHIN_MS = 30_000  # of a job's wait: until then, the start of a worker is no trouble


class Severity(IntEnum):
    """How much a trouble matters; the smaller number is shown first."""

    ERROR = 0  # jobs do not run, or are lost
    WARNING = 1  # jobs run later than they could
    NOTE = 2  # needs no hurry


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A trouble of a pool."""

    severity: Severity
    reason: str  # a word, such as a condition's reason
    message: str  # a sentence

    @property
    def document(self) -> Document:
        """The trouble as JSON."""
        return {"severity": self.severity.name.lower(), "reason": self.reason, "message": self.message}


def troubles_of(queue: QueueSnapshot, scaling: Document) -> list[Trouble]:
    """Return the troubles of a pool, the worst first; `scaling` as in `pool_resources`, empty if it is not known."""
    if queue.retired:
        text = "the AgentPool no longer exists; its jobs can be read until their retention ends"
        return [Trouble(severity=Severity.NOTE, reason="Deleted", message=text)]
    found = [*_of_resource(queue, scaling), *_of_workers(queue), *_of_jobs(queue)]
    return sorted(found, key=lambda trouble: trouble.severity)


def _of_resource(queue: QueueSnapshot, scaling: Document) -> Iterator[Trouble]:
    for condition in scaling.get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "False":
            message = str(condition["message"] or "the pool is not ready")
            yield Trouble(severity=Severity.ERROR, reason=str(condition["reason"]), message=message)
    limited = scaling.get("limited")
    if limited and queue.queued:
        yield Trouble(severity=Severity.WARNING, reason=limited["reason"], message=limited["message"])


def _of_workers(queue: QueueSnapshot) -> Iterator[Trouble]:
    lost = lost_workers(queue)
    if lost:
        held = format_count(sum(worker.running for worker in lost), "job")
        text = f"{format_count(len(lost), 'worker')} lost with {held}; the next live worker recovers the jobs"
        yield Trouble(severity=Severity.ERROR, reason="WorkersLost", message=text)
    waited_ms = queue.oldest_wait_ms or 0
    jobs = format_count(queue.queued, "job")
    if waited_ms > STARTED_WITHIN_MS and not queue.live_workers and not queue.paused:
        text = f"no worker runs, and the oldest of {jobs} waits {format_duration(waited_ms)}"
        yield Trouble(severity=Severity.ERROR, reason="NoWorker", message=text)
    notes = [worker.note for worker in queue.live_workers if worker.note]
    if notes:
        text = f"{len(notes)} of {format_count(len(queue.live_workers), 'worker')} take no jobs: {notes[0]}"
        yield Trouble(severity=Severity.WARNING, reason="WorkersImpeded", message=text)


def _of_jobs(queue: QueueSnapshot) -> Iterator[Trouble]:
    if queue.paused:
        severity = Severity.WARNING if queue.queued else Severity.NOTE
        yield Trouble(severity=severity, reason="Paused", message="the pool accepts jobs and starts none")
    if queue.quarantined:
        text = f"{format_count(queue.quarantined, 'job')} in quarantine: waits to run alone after two lost workers"
        yield Trouble(severity=Severity.WARNING, reason="Quarantine", message=text)
    for limit in queue.limits:
        if limit.waiting:
            text = f"{format_count(limit.waiting, 'job')} held by the limit {limit.name} ({limit.text})"
            yield Trouble(severity=Severity.NOTE, reason="Limited", message=text)
    if queue.dead:
        text = f"{format_count(queue.dead, 'dead letter')} to replay or discard"
        yield Trouble(severity=Severity.NOTE, reason="DeadLetters", message=text)
