"""Whether each limit held at every event: jobs at once, and starts in any period."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from tests.judge.histories import ENDS, GIVE_BACK
from tests.judge.record import Document, Record


def judge_bounds(record: Record) -> Iterable[str]:
    """Return the broken limits."""
    for limit in record.limits:
        if "maxRunning" in limit:
            yield from _at_once(record, limit)
        if "rate" in limit:
            yield from _starts(record, limit)


def _at_once(record: Record, limit: Document) -> Iterable[str]:
    """At most `maxRunning` jobs of each subject hold a slot."""
    running: dict[str, set[str]] = defaultdict(set)
    for event in record.events:
        subject = _subject(record, limit, event)
        if subject is None:
            continue
        jobs = running[subject]
        if event["type"] == "started":
            jobs.add(event["job_id"])
            if len(jobs) > limit["maxRunning"]:
                yield f"limit {limit['name']}{_of(subject)}: {len(jobs)} jobs ran at once, not {limit['maxRunning']}"
        elif event["type"] in GIVE_BACK or event["type"] in ENDS:
            jobs.discard(event["job_id"])


def _starts(record: Record, limit: Document) -> Iterable[str]:
    """No period sees more than `count + burst - 1` starts of a subject."""
    rate = limit["rate"]
    most = rate["count"] + rate.get("burst", 1) - 1
    period_ms = rate.get("periodSeconds", 60) * 1000
    starts: dict[str, deque[int]] = defaultdict(deque)
    for event in record.events:
        subject = _subject(record, limit, event) if event["type"] == "started" else None
        if subject is None:
            continue
        times = starts[subject]
        times.append(event["at_ms"])
        while times[0] <= times[-1] - period_ms:
            times.popleft()
        if len(times) > most:
            yield f"limit {limit['name']}{_of(subject)}: {len(times)} starts in {period_ms / 1000:g} s, not {most}"


def _subject(record: Record, limit: Document, event: Document) -> str | None:
    """Return whose limit the event concerns ("": all jobs share it); None: the limit does not apply."""
    if limit.get("routes") and event["route"] not in limit["routes"]:
        return None
    if limit.get("kinds") and event["kind"] not in limit["kinds"]:
        return None
    if "by" not in limit:
        return ""
    subject: str | None = record.jobs.get(event["job_id"], {}).get({"key": "limit_key"}.get(limit["by"], limit["by"]))
    return subject or None


def _of(subject: str) -> str:
    return f" of {subject}" if subject else ""
