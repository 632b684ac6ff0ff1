"""The judge is honest: each kind of broken promise, forged into a clean history, is found and named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import JobEvent, JobRequest, Priority
from agentpool_core.queue.chunks import Chunk
from tests.chaos.checker import judge, money
from tests.chaos.rollbacks import Rollback, survives

CLEAN = [
    ("queued", "a", None),
    ("queued", "c", None),
    ("started", "a", "w1"),
    ("recovered", "a", "w1"),
    ("started", "a", "w2"),
    ("succeeded", "a", "w2"),
    ("started", "c", "w1"),
    ("returned", "c", "w1"),
    ("started", "c", "w2"),
    ("succeeded", "c", "w2"),
]
RUNS = [
    {"what": "start", "job": "a", "token": 1, "worker": "w1", "attempt": 1, "parents": {}},
    {"what": "start", "job": "a", "token": 2, "worker": "w2", "attempt": 1, "parents": {}},
    {"what": "end", "job": "a", "token": 2},
    {"what": "start", "job": "c", "token": 1, "worker": "w1", "attempt": 1, "parents": {"a": 1}, "done": 0},
    {"what": "saved", "job": "c", "token": 1, "done": 3},
    {"what": "start", "job": "c", "token": 2, "worker": "w2", "attempt": 1, "parents": {"a": 1}, "done": 3},
    {"what": "end", "job": "c", "token": 2},
]
REQUESTS = {
    "a": JobRequest(kind="nap", job_id="a", payload={"n": 1}),
    "c": JobRequest(kind="nap", job_id="c", payload={"n": 2}, after=("a",)),
}


def events(lines, route="r"):
    return [
        JobEvent(
            id=f"{number}-0.0", type=change, job_id=job, at_ms=number, kind="nap", route=route, priority=Priority.TASK,
            attempt=1, worker=worker, detail=detail[0] if detail else None,
        )
        for number, (change, job, worker, *detail) in enumerate(lines)
    ]  # fmt: skip


AGENT = JobRequest(kind="agent", job_id="g", payload={"n": 3, "signals": 1})
AGENT_LINES = [
    ("started", "g", "w1"),
    ("waiting", "g", "w1"),
    ("signalled", "g", None),
    ("resumed", "g", None),
    ("started", "g", "w2"),
    ("succeeded", "g", "w2"),
]
FIRST = {"job": "g", "token": 1, "worker": "w1", "attempt": 1}
SECOND = {"job": "g", "token": 2, "worker": "w2", "attempt": 1}
AGENT_RUNS = [
    {"what": "start", **FIRST, "parents": {}},
    {"what": "step", **FIRST, "step": 0},
    {"what": "emitted", **FIRST, "number": 1},
    {"what": "emitted", **FIRST, "number": 2},
    {"what": "stepped", **FIRST, "step": 0},
    {"what": "start", **SECOND, "parents": {}},
    {"what": "stepped", **SECOND, "step": 0},
    {"what": "end", **SECOND, "signals": ["g-0"]},
]
CHUNKS = [(1, 1), (1, 2)]  # token and number


def findings_of_agent(lines=AGENT_LINES, runs=AGENT_RUNS, chunks=CHUNKS):
    found = [Chunk(id="1-0", run=run, attempt=1, number=number, value=0) for run, number in chunks]
    return judge(
        acknowledged={"g": AGENT}, cancelled=(), events=events(lines), runs=runs, limits={"r": 1}, chunks={"g": found}
    )


def test_a_job_that_waited_has_no_findings():
    """A wait ends a claim, finished steps return in the next claim, and each signal and chunk is there once."""
    assert findings_of_agent() == []


AGENT_FORGERIES = {
    "while w1 held it": {"lines": [line for line in AGENT_LINES if line[0] != "waiting"]},
    "got the signals ['g-0', 'g-0']": {"runs": [*AGENT_RUNS[:-1], {**AGENT_RUNS[-1], "signals": ["g-0", "g-0"]}]},
    "got the signals []": {"runs": [*AGENT_RUNS[:-1], {**AGENT_RUNS[-1], "signals": []}]},
    "ran step 0 again": {"runs": [*AGENT_RUNS[:6], {"what": "step", **SECOND, "step": 0}, *AGENT_RUNS[6:]]},
    "went on under token 1": {"runs": [*AGENT_RUNS[:6], AGENT_RUNS[4], *AGENT_RUNS[6:]]},
    "has a hole": {"chunks": [(1, 1), (1, 2), (1, 4)]},
    "doubled or disordered": {"chunks": [(1, 1), (1, 1), (1, 2)]},
    "of an older claim": {"chunks": [(1, 1), (2, 1), (1, 2)]},
    "lost chunk 2 of token 1": {"chunks": [(1, 1)]},
}


@pytest.mark.parametrize("words", AGENT_FORGERIES)
def test_a_broken_promise_of_waits_steps_and_output_is_found(words):
    """Each forgery is found, with the expected sentence."""
    found = findings_of_agent(**AGENT_FORGERIES[words])
    assert any(words in finding for finding in found), found


def findings(lines=CLEAN, runs=RUNS, cancelled=(), requests=REQUESTS):
    return judge(acknowledged=requests, cancelled=cancelled, events=events(lines), runs=runs, limits={"r": 1})


def test_a_clean_history_has_no_findings():
    """A history without a broken promise has no finding, for any way back of a job."""
    for change in ("returned", "preempted", "retrying"):
        assert findings([(change if line[0] == "returned" else line[0], *line[1:]) for line in CLEAN]) == []


FORGERIES = {
    "was acknowledged and lost": {"lines": CLEAN[:-1]},
    "ended 2 times": {"lines": [*CLEAN, CLEAN[-1]]},
    "was succeeded after its end": {"lines": [*CLEAN, CLEAN[-1]]},
    "was acknowledged as cancelled": {"cancelled": ["a"]},
    "nobody was told": {"requests": {"a": REQUESTS["a"]}},
    "while w1 held it": {"lines": [line for line in CLEAN if line[0] != "recovered"]},
    "is still held": {"lines": CLEAN[:-1]},
    "while nobody held it": {"lines": [line for line in CLEAN if line != ("started", "a", "w2")]},
    "ran with token 3": {"runs": [*RUNS, {**RUNS[1], "token": 3}]},
    "was claimed by w2": {"runs": [RUNS[0], {**RUNS[1], "worker": "w9"}, *RUNS[2:]]},
    "under the one token": {"runs": [*RUNS, RUNS[1]]},
    "no handler ever came to its end": {"runs": RUNS[:-1]},
    "before its parent a had ended": {"lines": [*CLEAN[:4], *CLEAN[6:], *CLEAN[4:6]]},
    "of its parents, not": {"runs": [*RUNS[:3], {**RUNS[3], "parents": {}}, *RUNS[4:]]},
    "ran at once, the limit is 1": {"lines": [*CLEAN[:5], CLEAN[6], CLEAN[5], *CLEAN[7:]]},
    "was called poison": {"lines": [*CLEAN[:-1], ("failed", "c", "w2", "poison: alone")]},
    "is poison and succeeded": {"requests": {"a": REQUESTS["a"], "c": replace(REQUESTS["c"], kind="poison")}},
    "had been saved": {"runs": [*RUNS[:5], {**RUNS[5], "done": 2}, RUNS[6]]},
}


@pytest.mark.parametrize("words", FORGERIES)
def test_a_broken_promise_is_found(words):
    """Each forgery is found, with the expected sentence."""
    assert any(words in finding for finding in findings(**FORGERIES[words]))


BACK = Rollback(since=10.0, until=12.0, newest="9-0")


def judged(lines, runs, **more):
    return judge(
        acknowledged=REQUESTS, cancelled=(), events=events(lines), runs=runs, limits={"r": 1}, rollbacks=[BACK], **more
    )


def test_forgotten_jobs_are_no_finding():
    """A job acknowledged in a rollback's time may be lost, and a run of that time needs no claim."""
    lost_run = {"what": "start", "job": "a", "token": 2, "worker": "w9", "attempt": 2, "parents": {}, "at": 11.0}
    assert judged(CLEAN, [*RUNS, lost_run]) == []
    only_a = [line for line in CLEAN if line[1] == "a"]
    assert judged(only_a, [run for run in RUNS if run["job"] == "a"], forgettable={"c"}) == []


def test_every_promise_applies_to_known_jobs():
    """A forgettable job that Redis has must end, and a run outside the rollback's time must be explained."""
    unended = [line for line in CLEAN if line != ("succeeded", "c", "w2")]
    assert any("c was acknowledged and lost" in found for found in judged(unended, RUNS, forgettable={"c"}))
    late = {"what": "start", "job": "a", "token": 2, "worker": "w2", "attempt": 1, "parents": {}, "at": 30.0}
    assert judged(CLEAN, [*RUNS, late]) == ["a ran 2 times under the one token 2"]


def test_events_after_the_newest_that_redis_has_do_not_survive():
    """Entries compare by number, and all events of one entry go together."""
    assert survives("9-0.4", "9-0")
    assert survives("8-17.0", "9-0")
    assert not survives("9-1.0", "9-0")
    assert not survives("10-0.0", "9-0")


def test_money_that_a_budget_forgets_or_overspends_is_found():
    """The stored money has every acknowledged call, and at most a call of each running job above the amount."""
    runs = [{"what": "paid", "job": "a", "token": 1, "at": 1.0, "cost": 5}] * 2
    assert not [*money([12], runs, 10, 3), *money([10, 3], runs, 10, 3)]
    assert "has spent 14" in " ".join(money([14], runs, 10, 3))
    assert "calls for 10 were acknowledged, and the budget counts 9" in " ".join(money([9], runs, 10, 3))
    assert not [*money([9], runs, 10, 3, [Rollback(since=0.5, until=1.5, newest="0-1")])]
