"""Convert a job's hash and a stream's entries to Job, JobEvent and HistoryEntry.

`scripts/lib/job.lua` writes the fields, and omits the normal sequence of a job (queued, started, ended) from its log,
because entry, lease and end contain it; here they are combined. An unreadable field hides no other field: the record
names it, and shows its text. Used by `inspector`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agentpool_core.jobs import HistoryEntry, Job, JobEvent, JobId, JobState, Priority, WorkerId
from agentpool_core.queue.codec.json_text import UndecodableError, decode
from agentpool_core.queue.settings import DEFAULT_ROUTE
from agentpool_core.text import encodable

UNREADABLE_KIND = "~undecodable"  # as in scripts/lib/job.lua: replaces the kind of a job with an unreadable spec
SHOWN_RAW_CHARS = 1_000  # of a field that cannot be read
LONGEST_NUMBER = 25  # characters; scripts write fewer
_PRIORITY = "critical|task|info"
_SPEC = re.compile(rf"([^|]+)\|([^|]+)\|({_PRIORITY})\|(\d{{0,15}})\|(\d{{0,15}})\|[a-z]*", re.ASCII)
_LEASE = re.compile(r"(\d{1,15}) (\d{1,15}) (\d{1,15}) (.*)", re.ASCII | re.DOTALL)
_ENTRY = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)
_LINE = re.compile(r"(\S+) (\d{1,15}) (\d{1,15}) (.*)", re.ASCII)
_EVENT = re.compile(rf"(\S+) (\S+) ([^|\s]+)\|([^|\s]+)\|({_PRIORITY}) (\d{{1,15}}) (\S*) (.*)", re.ASCII | re.DOTALL)
SUSPECT_LOSSES = 2  # as in scripts/lib/job.lua: a job with so many runs alone next time


def fields_of(reply: Any) -> dict[str, str]:
    """Field and value of a hash or an entry, however the client gave them. Raises TypeError or ValueError for more."""
    if not isinstance(reply, dict | list):
        raise TypeError("neither a map nor a list")
    fields: dict[str, str] = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    if not all(isinstance(text, str) for pair in fields.items() for text in pair):
        raise TypeError("a field or a value is no text")
    return fields


class _Record:
    """A job's hash, read field by field: an unreadable field counts as missing, and its text is kept."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.unreadable: dict[str, str] = {}  # field: start of its text

    def doubt(self, field: str) -> None:
        """Remember a field that cannot be read."""
        self.unreadable[field] = encodable(self.fields.get(field, "")[:SHOWN_RAW_CHARS])

    def number(self, field: str) -> int | None:
        """A whole number; None: there is none."""
        text = self.fields.get(field)
        if not text:
            return None
        number = _number(text)
        if number is None:
            self.doubt(field)
        return number

    def body(self, field: str, *, needed: bool = False) -> Any:
        """A JSON value; None: there is none."""
        text = self.fields.get(field)
        if not text and not needed:
            return None
        try:
            return decode(text or "")
        except UndecodableError:
            self.doubt(field)
            return None

    def state(self) -> JobState:
        """Return the state; a job with an unreadable state is about to become a dead letter."""
        try:
            return JobState(self.fields.get("state", ""))
        except ValueError:
            self.doubt("state")
            return JobState.FAILED

    def spec(self) -> tuple[str, str, Priority, int | None, int | None]:
        """Kind, route, priority, and the job's own attempts and timeout."""
        found = _SPEC.fullmatch(self.fields.get("spec", ""))
        if found is None:
            self.doubt("spec")
            return UNREADABLE_KIND, DEFAULT_ROUTE, Priority.TASK, None, None
        kind, route, priority, attempts, timeout = found.groups()
        return kind, route, Priority(priority), _number(attempts), _number(timeout)

    def lease(self) -> tuple[int, int, str]:
        """Return attempt, time of the claim, and worker."""
        found = _LEASE.fullmatch(self.fields.get("lease") or "0 0 0 ")
        if found is None:
            self.doubt("lease")
            return 0, 0, ""
        return int(found[2]), int(found[3]), found[4]

    def entry_ms(self) -> int | None:
        """When the job became ready for the first time."""
        text = self.fields.get("entry")
        if text and not _ENTRY.fullmatch(text):
            self.doubt("entry")
            return None
        return int(text.partition("-")[0]) if text else None


def job_of(job_id: str, fields: Mapping[str, str], *, max_attempts: int, timeout_ms: int) -> Job:
    """Return the record; the pool's settings fill in missing values. Never raises."""
    record = _Record(fields)
    kind, route, priority, own_attempts, own_timeout = record.spec()
    state = record.state()
    attempt, claimed, worker = record.lease()
    enqueued = record.entry_ms()
    history = history_of(fields)
    return Job(
        job_id=JobId(job_id),
        state=state,
        kind=kind,
        route=route,
        priority=priority,
        payload=record.body("payload", needed=True),
        attempt=attempt,
        max_attempts=max_attempts if own_attempts is None else own_attempts,
        timeout_ms=timeout_ms if own_timeout is None else own_timeout,
        submitted_at_ms=history[0].at_ms if history else enqueued or claimed,
        enqueued_at_ms=enqueued,
        claimed_at_ms=claimed or None,
        finished_at_ms=history[-1].at_ms if state.terminal and history else None,
        due_at_ms=record.number("due") if state in {JobState.SCHEDULED, JobState.BLOCKED} else None,
        expires_at_ms=record.number("expires"),
        worker=WorkerId(worker) if worker else None,
        result=record.body("result"),
        error=fields.get("error"),
        reason=fields.get("reason"),
        progress=record.body("progress"),
        checkpoint=record.body("checkpoint"),
        after=tuple(JobId(parent) for parent in fields.get("after", "").split()),
        idempotency_key=fields["idem"].partition(" ")[2] if "idem" in fields else None,
        cancel_requested="cancel" in fields,
        losses=record.number("losses") or 0,
        quarantined=_quarantined(state, fields),
        history=history,
        undecodable=record.unreadable,
    )


def _quarantined(state: JobState, fields: Mapping[str, str]) -> bool:
    if state is JobState.RUNNING:
        return "alone" in fields
    return state is JobState.QUEUED and (_number(fields.get("losses")) or 0) >= SUSPECT_LOSSES


def history_of(fields: Mapping[str, str]) -> tuple[HistoryEntry, ...]:
    """A job's own history, oldest first; lines that cannot be read are left out."""
    lines = fields.get("log", "").splitlines()
    if not lines and "entry" in fields:
        lines.append(f"queued {fields['entry'].partition('-')[0]} 0 ")
    lease = _LEASE.fullmatch(fields.get("lease", ""))
    claims, attempt, claimed, worker = lease.groups() if lease else ("0", "0", "0", "")
    started = f"started {claimed} "
    if claims != "0" and claimed != "0" and not any(line.startswith(started) for line in lines):
        lines.append(f"{started}{attempt} {worker}")
    if "ended" in fields:
        lines.append(f"{fields.get('state', '')} {fields['ended']} {attempt} {worker}")
    return tuple(entry for line in lines if (entry := _history_entry(line)) is not None)


def _history_entry(line: str) -> HistoryEntry | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    change, at_ms, attempt, worker = found.groups()
    holder = WorkerId(worker) if worker else None
    return HistoryEntry(at_ms=int(at_ms), type=change, attempt=int(attempt), worker=holder)


def events_of(entry_id: str, fields: Mapping[str, str], *, first: int = 0) -> list[JobEvent]:
    """Return the events in an entry of the stream, from number `first` on, without unreadable events.

    Events of a script share an entry. Their ids are ENTRY.NUMBER.
    """
    numbered = list(enumerate(fields.values()))[first:]
    return [event for number, text in numbered if (event := _event(f"{entry_id}.{number}", text)) is not None]


def _event(event_id: str, text: str) -> JobEvent | None:
    found = _EVENT.fullmatch(text)
    if found is None:
        return None
    change, job_id, kind, route, priority, attempt, worker, detail = found.groups()
    return JobEvent(
        id=event_id,
        type=change,
        job_id=JobId(job_id),
        at_ms=int(event_id.partition("-")[0]),
        kind=kind,
        route=route,
        priority=Priority(priority),
        attempt=int(attempt),
        worker=WorkerId(worker) if worker else None,
        detail=detail or None,
    )


def _number(text: str | None) -> int | None:
    """A whole number that a script wrote, perhaps as 1.7e+12; None for anything else."""
    try:
        return int(float(text)) if text and len(text) <= LONGEST_NUMBER else None
    except (ValueError, OverflowError):
        return None
