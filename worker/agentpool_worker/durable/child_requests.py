"""Requests of children: the options of a child, combined with the lease of the parent.

`context` submits single children, `children` submits groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import JobRequest, Priority, StartedBy
from agentpool_core.submission import whole_milliseconds
from agentpool_core.tracing import child_of
from agentpool_worker.exceptions import WaitRefusedError

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, Lease


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildOptions:
    """Options of a child job; None uses the pool's settings."""

    priority: Priority | None = None  # None: the parent's
    key: str | None = None  # names this child within the parent, so a retried parent does not submit the child again
    after: tuple[JobId, ...] = ()  # jobs that must end first
    delay_seconds: float = 0.0
    timeout_seconds: float | None = None  # longest run of an attempt
    max_attempts: int | None = None
    preemptible: bool = False
    tenant: str | None = None  # None: the parent's
    tags: tuple[str, ...] | None = None  # None: the parent's


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A child of `ctx.gather`."""

    kind: str
    payload: Any = None
    options: ChildOptions | None = None


def child_request(lease: Lease, kind: str, payload: Any, options: ChildOptions) -> JobRequest:
    """Return the request of a child, which has priority, tenant and tags of its parent unless the options differ.

    Raises InvalidJobError for a delay or a timeout that is no number of seconds.
    """
    timeout = options.timeout_seconds
    return JobRequest(
        kind=kind,
        payload=payload,
        priority=options.priority or lease.priority,
        idempotency_key=None if options.key is None else f"{lease.job_id}/{options.key}",
        after=options.after,
        delay_ms=whole_milliseconds("delay_seconds", options.delay_seconds),
        timeout_ms=timeout if timeout is None else whole_milliseconds("timeout_seconds", timeout),
        max_attempts=options.max_attempts,
        preemptible=options.preemptible,
        trace=child_of(lease.trace),
        tenant=options.tenant,
        tags=options.tags or (),
        started_by=StartedBy(
            job_id=lease.job_id, inherit_tenant=options.tenant is None, inherit_tags=options.tags is None
        ),
    )


def member_request(lease: Lease, child: Child) -> JobRequest:
    """Return the request of a child of a group. Raises WaitRefusedError for options that a group excludes."""
    options = child.options or ChildOptions()
    if options.key is not None or options.after:
        refused = "key" if options.key is not None else "after"
        raise WaitRefusedError(f"a child of a group has no option {refused!r}", "leave it out, or use ctx.submit")
    return child_request(lease, child.kind, child.payload, options)
