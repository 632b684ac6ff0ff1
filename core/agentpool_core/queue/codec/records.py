"""Convert a job's hash and a stream's entries to Job, JobEvent and HistoryEntry.

`layout` takes the texts apart. Scripts omit the normal sequence of a job (queued, started, ended) from its log,
because entry, lease and end contain it; here they are combined. An unreadable field hides no other field: the record
names it, and shows its text. Used by `inspector`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentpool_core.jobs import HistoryEntry, Job, JobEvent, JobId, JobState, Priority, Usage, WorkerId
from agentpool_core.queue.codec.json_text import UndecodableError, decode
from agentpool_core.queue.codec.layout import (
    BUDGET_WAIT,
    SUSPECT_LOSSES,
    UNREADABLE_KIND,
    LeaseText,
    Spec,
    read_entry_ms,
    read_event,
    read_history,
    read_lease,
    read_spec,
    read_usage,
)
from agentpool_core.queue.settings import DEFAULT_ROUTE
from agentpool_core.text import encodable

HEAD_FIELDS = (  # of a job's hash, that make a record: some KiB at most; state is the first
    "state", "spec", "entry", "lease", "log", "ended", "due", "expires", "after", "error", "reason", "idem", "cancel",
    "losses", "alone", "limit_key", "tenant", "tokens", "started_by", "held", "tags", "wait", "usage",
)  # fmt: skip
BODY_FIELDS = ("payload", "result", "progress", "checkpoint")  # up to MAX_BODY_BYTES each
SHOWN_RAW_CHARS = 1_000  # of a field that cannot be read
LONGEST_NUMBER = 25  # characters; scripts write fewer
_NO_SPEC = Spec(UNREADABLE_KIND, DEFAULT_ROUTE, Priority.TASK, None, None, "")
_DUE = frozenset({JobState.SCHEDULED, JobState.BLOCKED, JobState.WAITING})  # states of a job that has a due time
_NO_LEASE = LeaseText(0, 0, 0, "")


def fields_of(reply: Any) -> dict[str, str]:
    """Return field and value of a hash or an entry, in any form of the client. Raises TypeError or ValueError."""
    if not isinstance(reply, dict | list):
        raise TypeError("neither a map nor a list")
    fields: dict[str, str] = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    if not all(isinstance(text, str) for pair in fields.items() for text in pair):
        raise TypeError("a field or a value is no text")
    return fields


class _Record:
    """A job's hash, read field by field: an unreadable field counts as missing, and the text is kept."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.unreadable: dict[str, str] = {}  # field: start of the text

    def distrust(self, field: str) -> None:
        """Remember a field that cannot be read."""
        self.unreadable[field] = encodable(self.fields.get(field, "")[:SHOWN_RAW_CHARS])

    def number(self, field: str) -> int | None:
        """Return a whole number; None: the field is missing."""
        text = self.fields.get(field)
        if not text:
            return None
        number = _number(text)
        if number is None:
            self.distrust(field)
        return number

    def body(self, field: str, *, needed: bool = False) -> Any:
        """Return a JSON value; None: the field is missing."""
        text = self.fields.get(field)
        if not text and not needed:
            return None
        try:
            return decode(text or "")
        except UndecodableError:
            self.distrust(field)
            return None

    def state(self) -> JobState:
        """Return the state; a job with an unreadable state is about to become a dead letter."""
        try:
            return JobState(self.fields.get("state", ""))
        except ValueError:
            self.distrust("state")
            return JobState.FAILED

    def spec(self) -> Spec:
        """Return the spec; for an unreadable spec a stand-in."""
        found = read_spec(self.fields.get("spec", ""))
        if found is None:
            self.distrust("spec")
        return found or _NO_SPEC

    def lease(self) -> LeaseText:
        """Return the latest attempt; zeros before the first attempt."""
        text = self.fields.get("lease")
        found = read_lease(text) if text else _NO_LEASE
        if found is None:
            self.distrust("lease")
        return found or _NO_LEASE

    def usage(self) -> Usage:
        """Return the usage of all attempts; zeros before the first report."""
        text = self.fields.get("usage")
        found = read_usage(text) if text else Usage()
        if found is None:
            self.distrust("usage")
        return found or Usage()

    def entry_ms(self) -> int | None:
        """Return the time at which the job became ready for the first time; None if it never was."""
        text = self.fields.get("entry")
        if not text:
            return None
        found = read_entry_ms(text)
        if found is None:
            self.distrust("entry")
        return found


def job_of(job_id: str, fields: Mapping[str, str], *, max_attempts: int, timeout_ms: int, bodies: bool = True) -> Job:
    """Return the record; the pool's settings fill in missing values. Never raises. `bodies`: among the fields."""
    record = _Record(fields)
    spec, state, lease = record.spec(), record.state(), record.lease()
    enqueued = record.entry_ms()
    history = history_of(fields)
    awaited = _awaited(fields) if state is JobState.WAITING else ()
    return Job(
        job_id=JobId(job_id),
        state=state,
        kind=spec.kind,
        route=spec.route,
        priority=spec.priority,
        payload=record.body("payload", needed=bodies),
        attempt=lease.attempt,
        max_attempts=max_attempts if spec.max_attempts is None else spec.max_attempts,
        timeout_ms=timeout_ms if spec.timeout_ms is None else spec.timeout_ms,
        submitted_at_ms=history[0].at_ms if history else enqueued or lease.claimed_ms,
        enqueued_at_ms=enqueued,
        claimed_at_ms=lease.claimed_ms or None,
        finished_at_ms=history[-1].at_ms if state.terminal and history else None,
        due_at_ms=record.number("due") if state in _DUE else None,
        expires_at_ms=record.number("expires"),
        worker=WorkerId(lease.worker) if lease.worker else None,
        result=record.body("result"),
        last_error=fields.get("error"),
        reason=fields.get("reason"),
        progress=record.body("progress"),
        checkpoint=record.body("checkpoint"),
        after=tuple(JobId(parent) for parent in fields.get("after", "").split()),
        tags=tuple(fields.get("tags", "").split()),
        idempotency_key=fields["idem"].partition(" ")[2] if "idem" in fields else None,
        cancel_requested="cancel" in fields,
        losses=record.number("losses") or 0,
        quarantined=_quarantined(state, fields),
        waits_for=tuple(name for name in awaited if not name.startswith("~")),
        waits_for_children=any(name.startswith("~") and not name.startswith(BUDGET_WAIT) for name in awaited),
        history=history,
        usage=record.usage(),
        limit_key=fields.get("limit_key"),
        tenant=fields.get("tenant"),
        tokens=record.number("tokens"),
        started_by=JobId(fields["started_by"]) if "started_by" in fields else None,
        held_by=_held_by(state, fields, awaited),
        undecodable=record.unreadable,
    )


def _awaited(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the awaited signals; `~GROUP` is the end of a group of children, `~~BUDGET` a new window."""
    return tuple(signal.partition("=")[0] for signal in fields.get("wait", "").split())


def _held_by(state: JobState, fields: Mapping[str, str], awaited: Sequence[str]) -> str | None:
    """Return the limit that a queued job waits for, or the budget whose next window a waiting job waits for."""
    if state is JobState.QUEUED and "held" in fields:
        return fields["held"].partition(":")[0]
    return next((name.removeprefix(BUDGET_WAIT) for name in awaited if name.startswith(BUDGET_WAIT)), None)


def _quarantined(state: JobState, fields: Mapping[str, str]) -> bool:
    if state is JobState.RUNNING:
        return "alone" in fields
    return state is JobState.QUEUED and (_number(fields.get("losses")) or 0) >= SUSPECT_LOSSES


def history_of(fields: Mapping[str, str]) -> tuple[HistoryEntry, ...]:
    """Return a job's own history, oldest first, without unreadable lines."""
    lines = fields.get("log", "").splitlines()
    if not lines and "entry" in fields:
        lines.append(f"queued {fields['entry'].partition('-')[0]} 0 ")
    lease = read_lease(fields.get("lease", "")) or _NO_LEASE
    started = f"started {lease.claimed_ms} "
    if lease.token and lease.claimed_ms and not any(line.startswith(started) for line in lines):
        lines.append(f"{started}{lease.attempt} {lease.worker}")
    if "ended" in fields:
        lines.append(f"{fields.get('state', '')} {fields['ended']} {lease.attempt} {lease.worker}")
    return tuple(entry for line in lines if (entry := _history_entry(line)) is not None)


def _history_entry(text: str) -> HistoryEntry | None:
    line = read_history(text)
    if line is None:
        return None
    holder = WorkerId(line.worker) if line.worker else None
    return HistoryEntry(at_ms=line.at_ms, type=line.change, attempt=line.attempt, worker=holder)


def events_of(entry_id: str, fields: Mapping[str, str], *, first: int = 0) -> list[JobEvent]:
    """Return the events in an entry of the stream, from number `first` on, without unreadable events.

    Events of a script share an entry. Their ids are ENTRY.NUMBER.
    """
    numbered = list(enumerate(fields.values()))[first:]
    return [event for number, text in numbered if (event := _event(f"{entry_id}.{number}", text)) is not None]


def _event(event_id: str, text: str) -> JobEvent | None:
    event = read_event(text)
    if event is None:
        return None
    return JobEvent(
        id=event_id,
        type=event.change,
        job_id=JobId(event.job_id),
        at_ms=int(event_id.partition("-")[0]),
        kind=event.kind,
        route=event.route,
        priority=event.priority,
        attempt=event.attempt,
        worker=WorkerId(event.worker) if event.worker else None,
        detail=event.detail or None,
    )


def _number(text: str | None) -> int | None:
    """Return a whole number that a script wrote, perhaps as 1.7e+12; None for anything else."""
    try:
        return int(float(text)) if text and len(text) <= LONGEST_NUMBER else None
    except (ValueError, OverflowError):
        return None


def entry_order(place: str) -> tuple[int, ...]:
    """Return the id of a stream's entry, or of an event in it, in a sortable form."""
    return tuple(int(part) for part in place.partition(".")[0].split("-") if part.isdecimal())


def only_stream(reply: Any) -> list[Any]:
    """Return the entries of the only stream in an XREAD reply."""
    if not reply:
        return []
    if isinstance(reply, dict):
        return list(next(iter(reply.values())))
    return list(reply[0][1])
