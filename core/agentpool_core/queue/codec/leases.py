"""Convert between the flat replies of the claim and settle scripts and the worker's values, on the hot path.

`consumer` sends and receives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from agentpool_core.jobs import JobId, Lease, LeaseToken
from agentpool_core.queue.codec.json_text import UndecodableError, decode, encode
from agentpool_core.queue.codec.layout import BUDGET_WAIT, PREEMPTIBLE, read_spec
from agentpool_core.queue.codec.slices import slices
from agentpool_core.queue.completions import Cancelled, Completion, Failed, Succeeded, Waiting
from agentpool_core.text import encodable, render_value

if TYPE_CHECKING:
    from agentpool_core.queue.scripts import Arg

MAX_ERROR_CHARS = 8_192  # of a failure's text; the end of a traceback says most
MAX_SAID_CHARS = 2_000  # of an overloaded handler's message
MAX_SETTLE = 250  # completions in a call: bounds the time of the script
ARGUMENTS_A_COMPLETION = 5
HEADER = 5  # values before the first lease in claim.lua's reply
VALUES_A_LEASE = 6

_EMPTY: Mapping[Any, Any] = {}


def leases_of(reply: list[Any]) -> list[Lease]:
    """Return the leases in claim.lua's reply."""
    if reply[0] != "ok":
        return []
    clock, attempts, timeout = reply[2], int(reply[3]), int(reply[4])
    values = iter(reply)
    for _ in range(HEADER):
        next(values)
    found = []
    token = attempt = leased_at = 0
    parsed: str | None = None  # lease of the job before: fresh jobs of a claim share the text
    for job_id, held, entry, spec, payload, rare in zip(*[values] * VALUES_A_LEASE, strict=True):
        kind, route, priority, max_attempts, timeout_ms, preemptible = _form(spec, attempts, timeout)
        if held != parsed:
            *numbers, _ = held.split(" ", 3)
            token, attempt, leased_at = map(int, numbers)
            parsed = held
        fault = None
        try:
            body, checkpoint, trace, parents = _bodies(payload, rare)
        except UndecodableError as error:  # fails this job only: its neighbours run
            body, checkpoint, trace, parents = None, None, _EMPTY, _EMPTY
            fault = f"undecodable: {error}"
        found.append(
            Lease(
                job_id=job_id,
                token=LeaseToken(token),
                kind=kind,
                route=route,
                priority=priority,
                payload=body,
                attempt=attempt,
                max_attempts=max_attempts,
                timeout_ms=timeout_ms,
                enqueued_at_ms=int(entry[: entry.index("-")]),
                claimed_at_ms=clock,
                leased_at_ms=leased_at,
                checkpoint=checkpoint,
                parents=parents,
                trace=trace,
                preemptible=preemptible,
                entry=entry,
                fault=fault,
            )
        )
    return found


@lru_cache(maxsize=1_000)  # a pool has few specs, and dispatch latency includes this call
def _form(spec: str, attempts: int, timeout: int) -> tuple[Any, ...]:
    """Return the data shared by all jobs of a spec; the pool's settings fill in missing values."""
    found = read_spec(spec)
    if found is None:
        raise ValueError(f"not a spec: {render_value(spec)}")
    return (
        found.kind,
        found.route,
        found.priority,
        attempts if found.max_attempts is None else found.max_attempts,
        timeout if found.timeout_ms is None else found.timeout_ms,
        PREEMPTIBLE in found.flags,
    )


def _bodies(payload: str, rare: Any) -> tuple[Any, Any, Mapping[str, str], Mapping[JobId, Any]]:
    """Payload, checkpoint, trace and parents' results. Raises UndecodableError that begins with the field's name."""
    body = _decoded("payload", payload)
    if not rare:
        return body, None, _EMPTY, _EMPTY
    checkpoint, trace, parents = rare
    headers = _decoded("trace", trace) if trace else _EMPTY
    if not isinstance(headers, Mapping) or not all(isinstance(text, str) for text in headers.values()):
        raise UndecodableError(f"trace: not an object of texts: {render_value(trace)}")
    return body, _decoded("checkpoint", checkpoint) if checkpoint else None, headers, _parents(parents or ())


def _parents(flat: Sequence[str]) -> dict[JobId, Any]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {JobId(parent): _decoded(f"result of parent {parent}", result) for parent, result in pairs}


def _decoded(field: str, text: str) -> Any:
    try:
        return decode(text)
    except UndecodableError as error:
        raise UndecodableError(f"{field}: {error}") from error


class SettleCall(NamedTuple):
    """Completions that are settled in one call, and settle.lua's arguments for them."""

    completions: Sequence[Completion]
    arguments: list[Arg]


def settle_calls(completions: Sequence[Completion]) -> list[SettleCall]:
    """Divide completions into calls that hold the server for a bounded time; [] for none.

    Raises PayloadTooLargeError or InvalidJobError for a result that cannot be stored.
    """
    args = arguments(completions)
    texts = args[3::ARGUMENTS_A_COMPLETION]
    return [
        SettleCall(completions[start:end], args[start * ARGUMENTS_A_COMPLETION : end * ARGUMENTS_A_COMPLETION])
        for start, end in slices([len(str(text)) for text in texts], most=MAX_SETTLE)
    ]


def arguments(completions: Sequence[Completion]) -> list[Arg]:
    """Return settle.lua's five arguments for each completion."""
    args: list[Arg] = []
    for completion in completions:
        job_id: JobId = completion.job_id
        token: LeaseToken = completion.token
        if isinstance(completion, Succeeded):
            args += (job_id, token, "succeeded", encode("result", completion.result), "")
        elif isinstance(completion, Failed):
            after = completion.retry_after_ms
            error = encodable(completion.error[-MAX_ERROR_CHARS:])
            if completion.retry:
                args += (job_id, token, "failed", error, "" if after is None else after)
            else:
                args += (job_id, token, "dead", error, completion.reason)
        elif isinstance(completion, Cancelled):
            args += (job_id, token, "cancelled", encodable(completion.reason), "")
        elif isinstance(completion, Waiting):
            signals = completion.signals if completion.budget is None else ((f"{BUDGET_WAIT}{completion.budget}", 1),)
            wait = " ".join(f"{name}={number}" for name, number in signals)
            args += (job_id, token, "waiting", wait, "" if completion.after_ms is None else completion.after_ms)
        else:
            state = "" if completion.checkpoint is None else encode("checkpoint", completion.checkpoint)
            said = encodable(completion.said[:MAX_SAID_CHARS])
            number = f"{'' if completion.after_ms is None else completion.after_ms} {said}"
            args += (job_id, token, completion.reason.value, state, number)
    return args
