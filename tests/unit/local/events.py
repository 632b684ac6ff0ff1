"""Builds job events for tests."""

from agentpool_core.jobs import JobEvent, JobId, Priority, WorkerId


def event(kind, job, at_ms, *, route="code", worker=None, attempt=1):
    return JobEvent(
        id=f"{at_ms}-0",
        type=kind,
        job_id=JobId(job),
        at_ms=at_ms,
        kind=route,
        route=route,
        priority=Priority.TASK,
        attempt=attempt,
        worker=WorkerId(worker) if worker else None,
        detail=None,
    )
