"""Layout of the texts inside a pool's hashes and entries: the only Python module that takes them apart.

`scripts/lib/jobs.lua` writes these texts and has the same patterns; a test compares the two.
`agentpool_core.queue.keys` lists the fields that hold them. A number has at most DIGITS_MAX digits, so it is exact in
Lua and in Python.

    SPEC       kind|route|priority|maxAttempts|timeoutMs|flags; an empty number stands for the pool's setting
    LEASE      token attempt claimedMs worker
    HISTORY    change ms attempt worker
    DEFERRALS  attempt sinceMs times
    EVENT      change jobId kind|route|priority attempt worker detail
    WORKER     slots running sinceMs host version, and on a second line a note
    STEP       outcome attempt startedMs durationMs order name, and on a second line the name of the step before it;
               order: next (in the task of the step before it) or branch
    USAGE      token number calls inputTokens outputTokens cost; number: of the last report under that lease token,
               cost: billionths;
               a row of a day: tenant, kind and model on three lines -> the last four numbers
    DELIVERY   outcome changeMs tries atMs answer
    FLAGS      p preemptible, u runs though a parent failed, f only then, a has parents, t has a ttl, x has a trace,
               k has a limit key or a tenant, n has a tenant, g belongs to a group, m to one with a limit

`records`, `leases` and `snapshot_reply` build values from the parts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agentpool_core.jobs import Priority, Step, StepOutcome, Usage

DIGITS_MAX = 15
FLAGS = "puatxknfgm"
PREEMPTIBLE = "p"
BUDGET_WAIT = "~~"  # before the name of a budget, among the signals that a job waits for; no signal comes for it
UNREADABLE_KIND = "~undecodable"  # stands for the kind of a job with an unreadable spec
SUSPECT_LOSSES = 2  # a job with so many losses runs alone next time
_NUMBER = rf"\d{{1,{DIGITS_MAX}}}"
_OWN_NUMBER = rf"\d{{0,{DIGITS_MAX}}}"
_PRIORITY = "critical|task|info"
_SPEC = re.compile(rf"([^|]+)\|([^|]+)\|({_PRIORITY})\|({_OWN_NUMBER})\|({_OWN_NUMBER})\|([A-Za-z]*)", re.ASCII)
_LEASE = re.compile(rf"({_NUMBER}) ({_NUMBER}) ({_NUMBER}) (.*)", re.ASCII | re.DOTALL)
_ENTRY = re.compile(rf"({_NUMBER})-{_NUMBER}", re.ASCII)
_HISTORY = re.compile(rf"(\S+) ({_NUMBER}) ({_NUMBER}) (.*)", re.ASCII)
_OUTCOME = "|".join(StepOutcome)
_STEP = re.compile(rf"({_OUTCOME}) ({_NUMBER}) ({_NUMBER}) ({_NUMBER}) (next|branch) ([^\n]+)\n(.*)", re.ASCII)
_TOTALS = rf"({_NUMBER}) ({_NUMBER}) ({_NUMBER}) (\d{{1,18}})"
_USAGE = re.compile(rf"{_NUMBER} {_NUMBER} {_TOTALS}", re.ASCII)
_USAGE_ROW = re.compile(_TOTALS, re.ASCII)
USAGE_ROW_NAMES = 3
_DELIVERY = re.compile(rf"(delivered|failed|retrying) ({_NUMBER}) ({_NUMBER}) ({_NUMBER}) (.*)", re.ASCII | re.DOTALL)
_EVENT = re.compile(rf"(\S+) (\S+) ([^|\s]+)\|([^|\s]+)\|({_PRIORITY}) ({_NUMBER}) (\S*) (.*)", re.ASCII | re.DOTALL)


class Spec(NamedTuple):
    """The data shared by all jobs of a kind with equal limits. None: the pool's setting applies."""

    kind: str
    route: str
    priority: Priority
    max_attempts: int | None
    timeout_ms: int | None
    flags: str


class LeaseText(NamedTuple):
    """The latest attempt at a job; zeros and no worker before the first."""

    token: int
    attempt: int
    claimed_ms: int
    worker: str


class HistoryLine(NamedTuple):
    """A change of a job."""

    change: str
    at_ms: int
    attempt: int
    worker: str


class EventText(NamedTuple):
    """A change of a job, as in the event stream."""

    change: str
    job_id: str
    kind: str
    route: str
    priority: Priority
    attempt: int
    worker: str
    detail: str


class DeliveryText(NamedTuple):
    """The latest try to deliver a message to a webhook."""

    outcome: str
    change_ms: int
    tries: int
    at_ms: int
    answer: str


class WorkerText(NamedTuple):
    """A worker's report about itself."""

    slots: int
    running: int
    since_ms: int
    host: str
    version: str
    note: str


def read_spec(text: str) -> Spec | None:
    """Return the parts of a SPEC; None for a text that no script writes."""
    found = _SPEC.fullmatch(text)
    if found is None:
        return None
    kind, route, priority, attempts, timeout, flags = found.groups()
    return Spec(kind, route, Priority(priority), _own(attempts), _own(timeout), flags)


def read_lease(text: str) -> LeaseText | None:
    """Return the parts of a LEASE; None for a text that no script writes."""
    found = _LEASE.fullmatch(text)
    return found and LeaseText(int(found[1]), int(found[2]), int(found[3]), found[4])


def read_entry_ms(text: str) -> int | None:
    """Return the time in an entry's id; None for a text that is no id."""
    found = _ENTRY.fullmatch(text)
    return found and int(found[1])


def read_number(text: str) -> int | None:
    """Return a number of a record; None for a text that no script writes."""
    return int(text) if re.fullmatch(_NUMBER, text, re.ASCII) else None


def read_history(text: str) -> HistoryLine | None:
    """Return the parts of a line of HISTORY; None for a text that no script writes."""
    found = _HISTORY.fullmatch(text)
    return found and HistoryLine(found[1], int(found[2]), int(found[3]), found[4])


def read_event(text: str) -> EventText | None:
    """Return the parts of an EVENT; None for a text that no script writes."""
    found = _EVENT.fullmatch(text)
    if found is None:
        return None
    change, job_id, kind, route, priority, attempt, worker, detail = found.groups()
    return EventText(change, job_id, kind, route, Priority(priority), int(attempt), worker, detail)


def read_delivery(text: str) -> DeliveryText | None:
    """Return the parts of a DELIVERY; None for a text that no script writes."""
    found = _DELIVERY.fullmatch(text)
    return found and DeliveryText(found[1], int(found[2]), int(found[3]), int(found[4]), found[5])


def read_step(number: int, text: str) -> Step | None:
    """Return the step of a STEP, without its result; None for a text that `step_text` does not write."""
    found = _STEP.fullmatch(text)
    if found is None:
        return None
    outcome, attempt, started, duration, order, name, after = found.groups()
    return Step(
        number=number,
        name=name,
        outcome=StepOutcome(outcome),
        attempt=int(attempt),
        started_at_ms=int(started),
        duration_ms=int(duration),
        after=after,
        sequential=order == "next",
    )


def step_text(step: Step) -> str:
    """Return the STEP of a step; a script stores it as it is."""
    order = "next" if step.sequential else "branch"
    times = f"{step.attempt} {step.started_at_ms} {step.duration_ms}"
    return f"{step.outcome.value} {times} {order} {step.name}\n{step.after}"


def read_usage(text: str) -> Usage | None:
    """Return the totals of a USAGE; None for a text that no script writes."""
    found = _USAGE.fullmatch(text)
    return found and Usage(*(int(number) for number in found.groups()))


def read_usage_row(names: str, numbers: str) -> tuple[str, str, str, Usage] | None:
    """Return tenant, kind, model and usage of a row of a day; None for a text that no script writes."""
    found, parts = _USAGE_ROW.fullmatch(numbers), names.split("\n")
    if found is None or len(parts) != USAGE_ROW_NAMES:
        return None
    return parts[0], parts[1], parts[2], Usage(*(int(number) for number in found.groups()))


def read_worker(text: str) -> WorkerText:
    """Return the parts of a WORKER. Raises ValueError for a text that no script writes."""
    line, _, note = text.partition("\n")
    slots, running, since_ms, host_and_version = line.split(" ", 3)
    host, _, version = host_and_version.partition(" ")
    return WorkerText(int(slots), int(running), int(since_ms), host, version, note)


def _own(text: str) -> int | None:
    return int(text) if text else None
