"""The second judge accepts the record of a real queue, and refuses each forged, missing or moved event."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentpool_core.documents import event_document, job_document
from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded, Waiting
from tests.judge.bounds import judge_bounds
from tests.judge.histories import CHANGES, ENDS, judge_histories
from tests.judge.record import UnusableRecordError, read

ROOT = Path(__file__).parents[2]
SETTINGS = PoolSettings(
    routes=(Route(name="narrow", kinds=("n",), max_running=1),), retry_initial_ms=0, retry_max_ms=0, max_attempts=2
)
LIMIT = {"name": "narrow", "routes": ["narrow"], "maxRunning": 1}
REQUESTS = [
    JobRequest(kind="n", job_id="plain"),
    JobRequest(kind="n", job_id="back"),
    JobRequest(kind="n", job_id="child", after=("plain",)),
    JobRequest(kind="x", job_id="late", delay_ms=1),
    JobRequest(kind="x", job_id="waits"),
    JobRequest(kind="x", job_id="dies"),
    JobRequest(kind="x", job_id="gone", delay_ms=60_000),
]
RETURN = {"reason": ReturnReason.DRAIN}
PLOT = {  # how each run of a job ends; the rest succeeds
    "back": [(Returned, RETURN)],
    "late": [(Failed, {"error": "once"})],
    "waits": [(Waiting, {"signals": (("go", 1),)})],
    "dies": [(Failed, {"error": "one"}), (Failed, {"error": "two"})],
}
SILENT = {kind for kind, (_, after) in CHANGES.items() if not after}  # change no state


@pytest.fixture
async def lines(redis, pool):
    """The public record of a pool in which each job has ended."""
    await Inspector(redis).configure(pool, SETTINGS)
    producer, consumer = Producer(redis, pool), Consumer(redis, pool, WorkerId("w"))
    receipts = await producer.submit_many(REQUESTS)
    assert (await producer.cancel("gone")).value == "cancelled"
    await consumer.register(slots=10, host="h")
    plot = {job: list(ends) for job, ends in PLOT.items()}
    inspector = Inspector(redis)
    while (await inspector.snapshot(pool)).finished_total < len(REQUESTS):
        for lease in await consumer.claim(10):
            end, fields = plot[lease.job_id].pop(0) if plot.get(lease.job_id) else (Succeeded, {"result": 1})
            await consumer.settle([end(job_id=lease.job_id, token=lease.token, **fields)])
            if end is Waiting:
                await producer.signal(lease.job_id, "go")
        await consumer.maintain()
    answers = [{"job_id": receipt.job_id, "call": "submit", "state": receipt.state} for receipt in receipts]
    events = await inspector.events(pool)
    jobs = [await inspector.job(pool, request.job_id) for request in REQUESTS]
    return [
        *(json.dumps({"event": {**event_document(e), "id": f"{place}-0.0"}}) for place, e in enumerate(events, 1)),
        *(json.dumps({"job": job_document(job, pool)}) for job in jobs),
        *(json.dumps({"acknowledged": call}) for call in [*answers, {"job_id": "gone", "call": "cancel"}]),
        *(json.dumps({"seen": {"job_id": "waits", "state": state}}) for state in ("waiting", "succeeded")),
        json.dumps({"limit": LIMIT}),
    ]


def findings(lines):
    record = read(lines)
    return [*judge_histories(record), *judge_bounds(record)]


def changes_of(lines):
    """Return the places of the events that change a state."""
    events = [json.loads(line).get("event") for line in lines]
    return [place for place, event in enumerate(events) if event and event["type"] not in SILENT]


async def test_a_real_record_is_accepted_and_no_event_may_be_missing(lines):
    """Each event that changes a job's state is needed: without it the record is refused."""
    assert findings(lines) == []
    kinds = {json.loads(lines[place])["event"]["type"] for place in changes_of(lines)}
    assert kinds >= {"blocked", "scheduled", "queued", "started", "returned", "retrying", "waiting", "resumed"}
    assert kinds >= {"succeeded", "failed", "cancelled"}
    for place in changes_of(lines):
        assert findings(lines[:place] + lines[place + 1 :]), lines[place]


async def test_each_forged_event_is_refused(lines):
    """An event that is doubled, of a different type, job, worker or attempt, or that comes too early is found."""
    for place in changes_of(lines):
        event = json.loads(lines[place])["event"]
        others = [kind for kind in CHANGES if kind not in SILENT and kind != event["type"]]
        forged = [{**event, "type": kind} for kind in others if not _is_free(event, kind)]
        forged += [{**event, "job_id": "stranger"}, {**event, "attempt": event["attempt"] + 1}]
        if event["type"] in ENDS and event["worker"]:
            forged.append({**event, "worker": "stranger"})
        for other in forged:
            assert findings([*lines[:place], json.dumps({"event": other}), *lines[place + 1 :]]), (event, other)
        twice = json.dumps({"event": {**event, "id": event["id"][:-1] + "1"}})
        assert findings([*lines[: place + 1], twice, *lines[place + 1 :]]), event


def _is_free(event, kind):
    """Whether the other type is the same change in the public record: a slot is given back, and the job is queued."""
    return {event["type"], kind} <= {"returned", "preempted", "recovered"}


async def test_answers_that_do_not_fit_are_refused(lines):
    """A lost job, a cancelled job that succeeded, a read of a past state, and a record that differs."""
    for line, problem in [
        ({"acknowledged": {"job_id": "never", "call": "submit"}}, "never was acknowledged and lost"),
        (
            {"acknowledged": {"job_id": "plain", "call": "submit", "state": "blocked"}},
            "plain was acknowledged as b",
        ),
        ({"acknowledged": {"job_id": "plain", "call": "cancel"}}, "plain was acknowledged as cancelled and is"),
        ({"seen": {"job_id": "waits", "state": "running"}}, "waits was seen running"),
        ({"job": {"job_id": "plain", "state": "running", "attempt": 1, "max_attempts": 2, "result": 1}}, "has a resu"),
        ({"job": {"job_id": "dies", "state": "failed", "attempt": 2, "max_attempts": 1, "result": None}}, "2 attempts"),
    ]:
        assert any(problem in found for found in findings([*lines, json.dumps(line)])), problem


def test_each_limit_is_held_to():
    """More jobs at once than allowed, for all jobs or for a tenant, and more starts in a period, are found."""
    kinds = ["queued"] * 2 + ["started"] * 2
    events = [
        {"event": {"id": f"{n}-0", "type": kind, "job_id": f"j{n % 2}", "at_ms": n, "kind": "x", "route": "r",
                   "attempt": int(kind == "started"), "worker": "w"}}
        for n, kind in enumerate(kinds)
    ]  # fmt: skip
    jobs = [{"job": {"job_id": f"j{n}", "tenant": "t"}} for n in range(2)]
    for limit, broken in [
        ({"name": "all", "maxRunning": 2}, False),
        ({"name": "all", "maxRunning": 1}, True),
        ({"name": "tenants", "by": "tenant", "maxRunning": 1}, True),
        ({"name": "keys", "by": "key", "maxRunning": 1}, False),
        ({"name": "others", "kinds": ["y"], "maxRunning": 1}, False),
        ({"name": "rate", "rate": {"count": 1, "periodSeconds": 1}}, True),
        ({"name": "burst", "rate": {"count": 1, "burst": 2, "periodSeconds": 1}}, False),
    ]:
        record = read(map(json.dumps, [*events, *jobs, {"limit": limit}]))
        assert bool([*judge_bounds(record)]) == broken, limit


def run_alone(code):
    """Run a program in a Python without installed packages."""
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)


async def test_the_judge_runs_without_the_product(lines, tmp_path):
    """A Python without installed packages judges the file; a finding is a line, and an unusable line is named."""
    file = tmp_path / "record.jsonl"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = [{str(file)!r}]\n"
    code += "import runpy; runpy.run_module('tests.judge', run_name='__main__')"
    for content, status, text in [
        (lines, 0, "of 7 jobs: 0 findings"),
        (lines[1:], 1, "plain was started while new"),
        (["{}"], 2, "line 1 is not of the record"),
    ]:
        file.write_text("\n".join(content))
        done = run_alone(code)
        assert done.returncode == status, done.stderr
        assert text in done.stdout + done.stderr


async def test_a_hole_in_an_entry_is_refused(lines):
    """The events of an entry are numbered from 0, so a missing one is found even if it changes no state."""
    first, second = (json.loads(line)["event"] for line in lines[:2])
    moved = [json.dumps({"event": {**second, "id": first["id"][:-1] + number}}) for number in "12"]
    assert findings([lines[0], moved[0], *lines[2:]]) == []
    assert findings([lines[0], moved[1], *lines[2:]]) == ["the event before 1-0.2 is missing in its entry"]


def test_a_line_of_no_known_name_is_refused():
    """The line's number is in the error."""
    with pytest.raises(UnusableRecordError, match="line 2"):
        read([json.dumps({"limit": LIMIT}), json.dumps({"rumour": {}})])
