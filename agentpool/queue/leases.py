"""Between the claim and settle scripts' flat replies and the worker's values; on the hot path, so kept lean.

Who takes over next: `consumer`, which sends and receives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentpool.jobs import JobId, Lease, LeaseToken, Priority
from agentpool.queue.bodies import decode, encode
from agentpool.queue.outcomes import Cancelled, Completion, Failed, Succeeded

if TYPE_CHECKING:
    from agentpool.queue.scripts import Arg

MAX_ERROR_CHARS = 8_192  # of a failure's text; the end of a traceback says most

_PRIORITIES = {priority.value: priority for priority in Priority}
_NONE: Mapping[Any, Any] = {}


def leases_of(reply: list[Any]) -> list[Lease]:
    """The leases in claim.lua's reply."""
    if reply[0] != "ok":
        return []
    now, attempts, timeout = reply[2], int(reply[3]), int(reply[4])
    return [_lease(row, now, attempts, timeout) for row in reply[5:]]


def _lease(row: list[Any], now: int, attempts: int, timeout: int) -> Lease:
    job_id, token, attempt, entry, spec, payload, checkpoint, trace, parents = row
    kind, route, priority, own_attempts, own_timeout, flags = spec.split("|")
    return Lease(
        job_id=job_id,
        token=token,
        kind=kind,
        route=route,
        priority=_PRIORITIES[priority],
        payload=decode(payload),
        attempt=attempt,
        max_attempts=int(own_attempts) if own_attempts else attempts,
        timeout_ms=int(own_timeout) if own_timeout else timeout,
        enqueued_at_ms=int(entry.partition("-")[0]),
        claimed_at_ms=now,
        checkpoint=decode(checkpoint) if checkpoint else None,
        parents=_parents(parents) if parents else _NONE,
        trace=decode(trace) if trace else _NONE,
        preemptible="p" in flags,
    )


def _parents(flat: list[str]) -> dict[JobId, Any]:
    return {JobId(parent): decode(result) for parent, result in zip(flat[::2], flat[1::2], strict=True)}


def arguments(completions: Sequence[Completion]) -> list[Arg]:
    """settle.lua's five arguments for each completion."""
    args: list[Arg] = []
    for completion in completions:
        job_id: JobId = completion.job_id
        token: LeaseToken = completion.token
        if isinstance(completion, Succeeded):
            args += (job_id, token, "succeeded", encode("result", completion.result), "")
        elif isinstance(completion, Failed):
            after = completion.retry_after_ms
            error = completion.error[-MAX_ERROR_CHARS:]
            args += (job_id, token, "failed" if completion.retry else "dead", error, "" if after is None else after)
        elif isinstance(completion, Cancelled):
            args += (job_id, token, "cancelled", completion.reason, "")
        else:
            state = "" if completion.checkpoint is None else encode("checkpoint", completion.checkpoint)
            args += (job_id, token, completion.reason.value, state, "")
    return args
