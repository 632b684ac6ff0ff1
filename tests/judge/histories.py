"""Whether each job's events are one history that the page of states allows, and whether all answers fit into it.

The stream gives the order of the changes, so a job is linearizable exactly if its changes follow the states one by
one, and each reader saw states in that order. A job has a live lease while it runs; a token is the number of a start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.judge.record import Document, Record

WAITING_TO_RUN = frozenset({"queued", "scheduled", "blocked"})
LIVE = WAITING_TO_RUN | {"running", "waiting"}
NEW = frozenset({"new"})
RUNNING = frozenset({"running"})
# event: the states before, and the states after; () = the state stays
CHANGES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "blocked": (NEW, frozenset({"blocked"})),
    "scheduled": (NEW | {"blocked"}, frozenset({"scheduled"})),
    "queued": (NEW | {"blocked", "scheduled", "failed"}, frozenset({"queued"})),
    "started": (frozenset({"queued"}), RUNNING),
    "progress": (RUNNING, frozenset()),
    "yielding": (RUNNING, frozenset()),
    "cancelling": (RUNNING, frozenset()),
    "signalled": (LIVE, frozenset()),
    "quarantined": (frozenset({"queued"}), frozenset()),
    "returned": (RUNNING, frozenset({"queued", "scheduled"})),
    "preempted": (RUNNING, frozenset({"queued"})),
    "recovered": (RUNNING, frozenset({"queued"})),
    "retrying": (RUNNING, frozenset({"scheduled"})),
    "waiting": (RUNNING, frozenset({"waiting"})),
    "resumed": (frozenset({"waiting"}), frozenset({"queued"})),
    "succeeded": (RUNNING, frozenset({"succeeded"})),
    "failed": (RUNNING, frozenset({"failed"})),
    "cancelled": (NEW | LIVE, frozenset({"cancelled"})),
    "expired": (WAITING_TO_RUN, frozenset({"expired"})),
}
ENDS = frozenset({"succeeded", "failed", "cancelled", "expired"})
UNCOUNTED = frozenset({"returned", "preempted", "waiting"})  # the attempt does not count
GIVE_BACK = UNCOUNTED | {"recovered", "retrying"}


@dataclass
class History:
    """One job, as far as its events have been read."""

    job_id: str
    states: frozenset[str] = NEW  # the possible ones
    passed: list[frozenset[str]] = field(default_factory=list)  # all states so far, in order
    holder: str | None = None  # of the live lease
    tokens: int = 0
    attempt: int = 0
    lost: bool = False  # the last attempt of a lost worker may be restored

    def apply(self, event: Document) -> Iterable[str]:
        """Follow an event; return the broken promises."""
        kind = event["type"]
        if kind not in CHANGES:
            yield f"{self.job_id}: there is no event {kind!r}"
            return
        before, after = CHANGES[kind]
        if not self.states & before:
            yield f"{self.job_id} was {kind} while {self._words()}"
        yield from self._lease(kind, event)
        yield from self._attempt(kind, event["attempt"], replayed=kind == "queued" and "failed" in self.states)
        if after:
            self.states = after
            self.passed.append(after)

    def _lease(self, kind: str, event: Document) -> Iterable[str]:
        """A start makes a lease, and only the holder ends it."""
        worker = event["worker"]
        if kind == "started":
            self.tokens += 1
            if worker is None:
                yield f"{self.job_id} started without a worker"
            self.holder = worker
        elif kind in GIVE_BACK or kind in ENDS:
            if self.holder is not None and worker not in {self.holder, None}:
                yield f"{self.job_id} was {kind} by {worker} while {self.holder} held it"
            self.holder = None
        if kind == "expired" and self.tokens:
            yield f"{self.job_id} expired after its start"

    def _attempt(self, kind: str, attempt: int, *, replayed: bool) -> Iterable[str]:
        """A start is the next attempt; a return of the slot does not count; nothing else changes the number."""
        allowed = {self.attempt}
        if kind == "started":
            allowed = {self.attempt + 1, self.attempt} if self.lost else {self.attempt + 1}
        elif kind in UNCOUNTED:
            allowed = {max(0, self.attempt - 1)}
        elif kind == "recovered":
            allowed = {self.attempt, self.attempt - 1}
        elif replayed:
            allowed = {0}
        elif self.lost:
            allowed = {self.attempt, self.attempt - 1}
        if attempt not in allowed:
            yield f"{self.job_id} was {kind} in attempt {attempt}, not {' or '.join(map(str, sorted(allowed)))}"
        self.lost = kind == "recovered" or (self.lost and kind != "started")
        self.attempt = attempt

    def _words(self) -> str:
        return " or ".join(sorted(self.states))


def judge_histories(record: Record) -> Iterable[str]:
    """Return the broken promises of all jobs."""
    histories: dict[str, History] = {}
    place = (0, 0, -1)
    for event in record.events:
        now = _place(event["id"])
        if now <= place:
            yield f"event {event['id']} is not behind the event before it"
        if now[-1] and now != (*place[:-1], place[-1] + 1):
            yield f"the event before {event['id']} is missing in its entry"
        place = now
        history = histories.setdefault(event["job_id"], History(event["job_id"]))
        yield from history.apply(event)
    for history in histories.values():
        if not history.states & ENDS:
            yield f"{history.job_id} has not ended: it is {' or '.join(sorted(history.states))}"
    yield from _records(record, histories)
    yield from _answers(record, histories)


def _records(record: Record, histories: dict[str, History]) -> Iterable[str]:
    """Each job's record says what its history says."""
    for job_id, job in record.jobs.items():
        history = histories.get(job_id, History(job_id))
        if job["state"] not in history.states:
            yield f"{job_id} is {job['state']} in its record, and {' or '.join(history.states)} in its history"
        if job["attempt"] != history.attempt and not history.lost:
            yield f"{job_id} has attempt {job['attempt']} in its record, and {history.attempt} in its history"
        if job["attempt"] > job["max_attempts"]:
            yield f"{job_id} had {job['attempt']} attempts of {job['max_attempts']}"
        if job["state"] != "succeeded" and job["result"] is not None:
            yield f"{job_id} is {job['state']} and has a result"


def _answers(record: Record, histories: dict[str, History]) -> Iterable[str]:
    """Each answered call has its effect, and each reader saw the states in their order."""
    for answer in record.acknowledged:
        job_id, call = answer["job_id"], answer["call"]
        if job_id not in histories or not histories[job_id].passed:
            yield f"{job_id} was acknowledged and lost: it has no event"
        elif call == "submit" and "state" in answer and answer["state"] not in histories[job_id].passed[0]:
            yield f"{job_id} was acknowledged as {answer['state']} and began differently"
        elif call == "cancel" and histories[job_id].states != {"cancelled"}:
            yield f"{job_id} was acknowledged as cancelled and is {' or '.join(histories[job_id].states)}"
    reached: dict[str, int] = {}
    for look in record.seen:
        job_id, state = look["job_id"], look["state"]
        passed = histories.get(job_id, History(job_id)).passed
        start = reached.get(job_id, 0)
        found = next((place for place in range(start, len(passed)) if state in passed[place]), None)
        if found is None:
            yield f"{job_id} was seen {state}, which it was not any more, or not yet"
        else:
            reached[job_id] = found


def _place(event_id: str) -> tuple[int, int, int]:
    """Return the order of an event: time and number of its entry, and its number in the entry."""
    entry, _, number = event_id.partition(".")
    time, _, order = entry.partition("-")
    return int(time), int(order), int(number or 0)
