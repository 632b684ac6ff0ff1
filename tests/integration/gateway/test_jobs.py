"""Jobs over real HTTP and a real Redis."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Route
from agentpool_core.queue.completions import Succeeded, Waiting
from agentpool_gateway.routes import selection
from tests.fixtures.redis import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_job_is_stored_and_the_position_returned(http):
    """202 has the job's id, the depth, the position, and the job's address."""
    answer = await http.post("/jobs", json={"kind": "greet", "payload": {"a": 1}})
    body = answer.json()
    assert answer.status_code == 202
    assert (body["queued"], body["queue_depth"], body["position"], body["duplicate"]) == (True, 1, 1, False)
    second = (await http.post("/jobs", json={"kind": "greet"})).json()
    assert (second["queue_depth"], second["position"]) == (2, 2)
    urgent = (await http.post("/jobs", json={"kind": "greet", "priority": "critical"})).json()
    assert (urgent["queue_depth"], urgent["position"]) == (3, 1)
    found = await http.get(f"{http.base_url.copy_with(path=answer.headers['location'])}")
    assert found.json()["payload"] == {"a": 1}


async def test_the_idempotency_key_makes_a_repeat_safe(http):
    """The same key and body return the first job.

    The same key with a different body is a 409 that names the first job.
    """
    headers = {"Idempotency-Key": "order 7"}
    first = (await http.post("/jobs", json={"kind": "greet", "payload": 1}, headers=headers)).json()
    again = (await http.post("/jobs", json={"kind": "greet", "payload": 1}, headers=headers)).json()
    assert (again["job_id"], again["duplicate"]) == (first["job_id"], True)
    clash = await http.post("/jobs", json={"kind": "greet", "payload": 2}, headers=headers)
    assert clash.status_code == 409
    assert clash.headers["content-type"] == "application/problem+json"
    assert clash.json()["job_id"] == first["job_id"]
    assert clash.json()["remedy"]


async def test_trace_headers_reach_the_worker(http, consumer):
    """The W3C trace context reaches the worker unchanged."""
    await http.post("/jobs", json={"kind": "greet"}, headers={"traceparent": TRACE})
    assert (await consumer.serve_one()).trace == {"traceparent": TRACE}


@pytest.mark.parametrize("way", [{"params": {"wait": "20s"}}, {"headers": {"Prefer": "respond-async, wait=20"}}])
async def test_a_submit_can_wait_for_the_result(http, consumer, way):
    """200 has the result if the job ended in time."""
    waiting = asyncio.create_task(http.post("/jobs", json={"kind": "greet", "payload": 5}, **way))
    await consumer.serve_one()
    answer = await waiting
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["result"]) == ("succeeded", {"echo": 5})


async def test_a_wait_that_is_too_short_ends_with_the_receipt(http):
    """202: the gateway keeps the job all the same."""
    answer = await http.post("/jobs", json={"kind": "greet"}, params={"wait": "20ms"})
    assert answer.status_code == 202
    result = await http.get(f"/jobs/{answer.json()['job_id']}/result", params={"wait": "20ms"})
    assert (result.status_code, result.json()["state"]) == (202, "queued")


@pytest.mark.parametrize("what", ["", "/result"])
@pytest.mark.parametrize("way", [{"params": {"wait": "20s"}}, {"headers": {"Prefer": "wait=20"}}])
async def test_a_reader_can_wait_for_the_end(http, redis, pool: PoolRef, consumer, way, what: str):
    """The answer is a 200 after the end of the job, not before."""
    job = (await http.post("/jobs", json={"kind": "greet", "payload": 5})).json()["job_id"]
    reading = asyncio.create_task(http.get(f"/jobs/{job}{what}", **way))
    await wait_until(lambda: redis.hget(f"ap:{{{pool}}}:job:{job}", "watch"), "somebody waits for the job's end")
    assert not reading.done()
    await consumer.serve_one()
    answer = await reading
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "succeeded", {"echo": 5})


async def test_a_failed_job_returns_the_error(http, consumer):
    """The result's document has the state and the reason; the history has every step."""
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    await consumer.serve_one(error="no good")
    result = await http.get(f"/jobs/{job}/result")
    assert (result.status_code, result.json()["state"], result.json()["error"]) == (200, "failed", "no good")
    history = (await http.get(f"/jobs/{job}/history")).json()["history"]
    assert [entry["type"] for entry in history] == ["queued", "started", "failed"]


async def test_a_job_that_succeeds_after_a_replay_has_no_error(http, consumer):
    """`error` says why a job failed, so it is null from the replay on; the record keeps the error and its attempt."""
    job = (await http.post("/jobs", json={"kind": "greet", "max_attempts": 1})).json()["job_id"]
    await consumer.serve_one(error="no good")
    await http.post(f"/dead/{job}/replay")
    for state in ("queued", "succeeded"):
        found = (await http.get(f"/jobs/{job}")).json()
        assert (found["state"], found["error"], found["last_error"]) == (state, None, "no good")
        if state == "queued":
            await consumer.serve_one()
    assert found["last_error_attempt"] == 1
    assert (await http.get(f"/jobs/{job}/result")).json()["error"] is None
    listed = (await http.get("/jobs?state=succeeded&error=good")).json()["jobs"]
    assert [(row["error"], row["last_error"]) for row in listed] == [(None, "no good")]


async def test_a_retired_pool_is_gone_for_submits_and_still_read(http, redis, pool: PoolRef, consumer):
    """410 has the remedy; a replay and a message of an agent get the same error."""
    dead = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    await consumer.serve_one(error="no good")
    kept = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    inspector = Inspector(redis)
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    refused = await http.post("/jobs", json={"kind": "greet"})
    assert (refused.status_code, refused.json()["type"]) == (410, "urn:agentpool:problem:retired-pool")
    assert "apply the AgentPool again" in refused.json()["remedy"]
    assert (await http.get(f"/jobs/{kept}")).json()["state"] == "queued"
    assert (await http.post(f"/dead/{dead}/replay")).status_code == 410
    assert (await http.get(f"/jobs/{dead}")).json()["state"] == "failed"
    sent = {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hello"}]}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": sent}
    assert (await http.post("/a2a", json=call)).json()["error"]["code"] == -32004


async def test_a_refused_kind_is_reported_with_the_accepted_kinds(http, redis, pool: PoolRef):
    """422 has field and remedy, for one job and for many; a message of an agent gets the same error."""
    settings = PoolSettings(routes=(Route(name="doors", kinds=("greet",)),), refuse_unlisted_kinds=True)
    await Inspector(redis).configure(pool, settings)
    for body, field in (({"kind": "gret"}, "kind"), ([{"kind": "greet"}, {"kind": "gret"}], "[1].kind")):
        refused = await http.post("/jobs", json=body)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:agentpool:problem:unknown-kind")
        assert refused.json()["field"] == field
        assert "use one of greet, or add" in refused.json()["remedy"]
    assert (await http.get("/queue")).json()["depth"] == 0
    metadata = {"agentpool.dev/job": {"kind": "gret"}}
    message = {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hello"}], "metadata": metadata}
    call = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    assert "use one of greet" in (await http.post("/a2a", json=call)).json()["error"]["message"]
    assert (await http.post("/jobs", json={"kind": "greet"})).status_code == 202


async def test_many_jobs_go_in_one_request(http):
    """An array and NDJSON are accepted; receipts have the order of the jobs."""
    jobs = [{"kind": "greet", "payload": n, "idempotency_key": f"k{n}"} for n in range(3)]
    array = await http.post("/jobs", json=jobs)
    assert (array.status_code, array.json()["accepted"], array.json()["duplicates"]) == (202, 3, 0)
    lines = "\n".join(json.dumps(job) for job in jobs) + "\n"
    ndjson = await http.post("/jobs", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert ndjson.json()["duplicates"] == 3
    assert [job["job_id"] for job in ndjson.json()["jobs"]] == [job["job_id"] for job in array.json()["jobs"]]
    listed = (await http.get("/jobs", params={"state": "queued"})).json()["jobs"]
    assert len(listed) == 3
    assert not {"payload", "result", "progress", "checkpoint"} & listed[0].keys()


async def test_a_wrong_job_of_many_is_named_and_none_is_kept(http):
    """422 names the job, the field and the remedy."""
    answer = await http.post("/jobs", json=[{"kind": "greet"}, {"kind": "greet", "prio": 1}])
    assert answer.status_code == 422
    assert answer.json()["field"] == "[1].prio"
    assert (await http.get("/queue")).json()["depth"] == 0


async def test_one_key_for_many_jobs_is_refused(http):
    """Each job of a list has a key of its own; ignoring the header would let a repeat run every job twice."""
    headers = {"Idempotency-Key": "order 7"}
    answer = await http.post("/jobs", json=[{"kind": "greet"}, {"kind": "greet"}], headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
    assert answer.json()["remedy"] == "give each job its own idempotency_key in the body"
    assert (await http.get("/queue")).json()["depth"] == 0


async def test_only_a_full_queue_is_a_429(http, redis, pool: PoolRef):
    """429 has the depth, the limit, and the time to wait, as Retry-After and in milliseconds."""
    await Inspector(redis).configure(pool, PoolSettings(max_depth=1))
    assert (await http.post("/jobs", json={"kind": "greet"})).status_code == 202
    full = await http.post("/jobs", json={"kind": "greet"})
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) >= 1
    assert (full.json()["type"], full.json()["depth"]) == ("urn:agentpool:problem:queue-full", 1)


async def test_a_job_is_cancelled_once(http, consumer):
    """200 for a waiting job; 409 after the end; 404 for an unknown job."""
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    assert (await http.delete(f"/jobs/{job}")).json() == {"job_id": job, "outcome": "cancelled"}
    assert (await http.delete(f"/jobs/{job}")).status_code == 409
    assert (await http.delete(f"/jobs/{job}?tree=true")).json() == {"job_id": job, "outcome": "finished"}
    assert (await http.delete("/jobs/stranger")).status_code == 404
    running = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    (lease,) = await consumer.claim(1)
    assert (await http.delete(f"/jobs/{running}")).status_code == 202
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])


async def test_the_queue_is_described_by_route_and_priority(http, consumer):
    """One read returns depth, running jobs, oldest wait and workers."""
    for priority in ("critical", "info"):
        await http.post("/jobs", json={"kind": "greet", "priority": priority})
    queue = (await http.get("/queue")).json()
    assert queue["routes"][0]["queued"] == {"critical": 1, "task": 0, "info": 1}
    assert (queue["depth"], queue["estimated_wait_ms"], queue["workers"][0]["slots"]) == (2, 0, 10)


async def test_the_queue_lists_running_jobs_the_longest_wait_and_an_estimate(http, redis, pool: PoolRef, consumer):
    """Each route has figures of its own; the queue's clock gives the oldest; past run times give the estimate."""
    routes = (Route(name="code", kinds=("code",), max_running=2), Route(name="text", kinds=("text",)))
    await Inspector(redis).configure(pool, PoolSettings(routes=routes))
    ids = [job["job_id"] for job in (await http.post("/jobs", json=[{"kind": "code"}] * 3)).json()["jobs"]]
    await http.post("/jobs", json=[{"kind": "text", "priority": "info"}] * 20)
    first = await consumer.take_one()
    await wait_until(lambda: _passed(redis, first.claimed_at_ms + 30), "the first job has run for 30 ms")
    await consumer.settle([Succeeded(job_id=first.job_id, token=first.token)])
    assert {lease.kind for lease in await consumer.claim(3)} == {"code", "text"}
    queue = (await http.get("/queue")).json()
    figures = {
        route["name"]: (route["limit"], route["running"], sum(route["queued"].values())) for route in queue["routes"]
    }
    assert (figures["code"], figures["text"]) == ((2, 2, 0), (None, 1, 19))
    assert (queue["queued"], queue["running"]) == (19, 3)
    waiting = (await http.get("/jobs", params={"state": "queued"})).json()["jobs"]
    oldest_ms = queue["taken_at_ms"] - min(job["enqueued_at_ms"] for job in waiting)
    assert queue["oldest_wait_ms"] == oldest_ms > 0
    ended = (await http.get(f"/jobs/{ids[0]}")).json()
    ran_ms = ended["finished_at_ms"] - ended["claimed_at_ms"]
    assert queue["estimated_wait_ms"] == (19 + 1) * ran_ms / 10  # slots


async def _passed(redis, at_ms: int) -> bool:
    seconds, micros = await redis.time()
    return seconds * 1000 + micros / 1000 >= at_ms


async def test_a_single_dead_letter_is_deleted(http, consumer):
    """The answer names the job; a job that is not dead is no dead letter."""
    ids = [job["job_id"] for job in (await http.post("/jobs", json=[{"kind": "greet"}] * 3)).json()["jobs"]]
    for _ in ids[:2]:
        await consumer.serve_one(error="no good")
    assert (await http.delete(f"/dead/{ids[0]}")).json() == {"job_id": ids[0], "outcome": "deleted"}
    assert [letter["job_id"] for letter in (await http.get("/dead")).json()["jobs"]] == [ids[1]]
    assert (await http.get(f"/jobs/{ids[0]}")).status_code == 404
    assert (await http.delete(f"/dead/{ids[2]}")).status_code == 404
    assert (await http.get(f"/jobs/{ids[2]}")).json()["state"] == "queued"


async def test_dead_letters_can_be_replayed_and_purged(http, consumer):
    """A job that is not dead cannot be replayed: 409."""
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    assert (await http.post(f"/dead/{job}/replay")).status_code == 409
    await consumer.serve_one(error="no good")
    assert [letter["job_id"] for letter in (await http.get("/dead")).json()["jobs"]] == [job]
    child = (await http.post("/jobs", json={"kind": "k", "after": [job]})).json()["job_id"]
    replayed = await http.post(f"/dead/{job}/replay", params={"downstream": True})
    assert (replayed.status_code, replayed.json()["downstream"]) == (202, 1)
    assert (await http.get(f"/jobs/{child}")).json()["state"] == "blocked"
    await consumer.serve_one(error="no good")
    await http.post("/jobs", json={"kind": "parse"})
    await consumer.serve_one(error="worse")
    first = (await http.get("/dead", params={"limit": 1})).json()
    rest = (await http.get("/dead", params={"limit": 1, "cursor": first["cursor"]})).json()
    assert [page["jobs"][0]["kind"] for page in (first, rest)] == ["greet", "parse"]
    assert rest["cursor"] is None
    assert len((await http.get("/dead", params={"error": "wor"})).json()["jobs"]) == 1
    assert (await http.get("/dead", params={"state": "queued"})).status_code == 422
    assert (await http.delete("/dead")).json() == {"deleted": 2, "left": 0}
    assert (await http.delete(f"/dead/{job}")).status_code == 404


async def test_a_fan_out_drops_nothing(gateway, http, consumer):
    """Two hundred concurrent delegations, a tenth of them repeated: each is stored once, and none is refused."""
    at_once = 50
    limit = asyncio.Semaphore(at_once)
    # httpx may close an expired connection that it has just given to a request; kept connections never expire.
    kept = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once, keepalive_expiry=None)

    async def send(client: httpx.AsyncClient, number: int) -> tuple[int, str]:
        async with limit:
            answer = await client.post("/jobs", json={"kind": "greet"}, headers={"Idempotency-Key": str(number)})
            return answer.status_code, answer.json()["job_id"]

    numbers = [*range(200), *range(20)]
    async with gateway.client(limits=kept) as client:
        client.base_url = http.base_url
        answers = await asyncio.gather(*(send(client, number) for number in numbers))
    assert {status for status, _ in answers} == {202}
    assert len({job for _, job in answers}) == 200
    assert (await http.get("/queue")).json()["depth"] == 200


async def test_selected_jobs_are_listed_in_pages_and_counted(http):
    """A page has a cursor while jobs remain; tags and kinds narrow the list and the count."""
    for number in range(5):
        tags = ["nightly"] if number < 3 else ["nightly-2"]
        await http.post("/jobs", json={"kind": "greet", "payload": number, "tags": tags})
    first = (await http.get("/jobs", params={"tag": "nightly", "limit": 2})).json()
    rest = (await http.get("/jobs", params={"tag": "nightly", "limit": 2, "cursor": first["cursor"]})).json()
    assert ([len(page["jobs"]) for page in (first, rest)], rest["cursor"]) == ([2, 1], None)
    assert {tuple(job["tags"]) for job in first["jobs"] + rest["jobs"]} == {("nightly",)}
    assert (await http.get("/jobs:count", params={"tag": "nightly"})).json() == {"count": 3}
    assert (await http.get("/jobs:count", params={"kind": "other"})).json() == {"count": 0}
    refused = await http.get("/jobs", params={"cursor": "x"})
    assert (refused.status_code, refused.json()["field"]) == (422, "cursor")


async def test_selected_jobs_are_cancelled_and_purged(http, monkeypatch):
    """Each request changes a bounded number; the cursor continues, and null ends the change."""
    monkeypatch.setattr(selection, "LONGEST_CHANGE_SECONDS", 0.0)
    jobs = [{"kind": "greet", "tags": ["nightly"]} for _ in range(150)]
    await http.post("/jobs", json=jobs)
    body = {"state": ["queued"], "tag": ["nightly"], "reason": "superseded"}
    answers = [(await http.post("/jobs:cancel", json=body)).json()]
    while answers[-1]["cursor"] is not None:
        answers.append((await http.post("/jobs:cancel", json=body | {"cursor": answers[-1]["cursor"]})).json())
    assert [answer["changed"] for answer in answers] == [100, 50]
    ended = (await http.get("/jobs", params={"state": "cancelled", "limit": 1_000})).json()["jobs"]
    assert (len(ended), {job["reason"] for job in ended}) == (150, {"superseded"})
    monkeypatch.setattr(selection, "LONGEST_CHANGE_SECONDS", 5.0)
    assert (await http.post("/jobs:purge", json={"state": ["cancelled"]})).json() == {"changed": 150, "cursor": None}
    assert (await http.get("/jobs:count")).json() == {"count": 0}


async def test_selected_dead_letters_are_replayed(http, consumer):
    """`jobs:replay` queues the dead letters of a kind again."""
    await http.post("/jobs", json={"kind": "greet", "max_attempts": 1})
    await consumer.serve_one(error="no")
    assert (await http.post("/jobs:replay", json={"kind": ["other"]})).json()["changed"] == 0
    assert (await http.post("/jobs:replay", json={"kind": ["greet"]})).json()["changed"] == 1
    assert (await http.get("/jobs:count", params={"state": "queued"})).json() == {"count": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "state"),
        ({"states": ["queued"]}, "states"),
        ({"state": ["queued", "odd"]}, "state"),
        ({"state": ["succeeded"]}, "state"),
        ({"state": ["queued"], "tag": "nightly"}, "tag"),
        ({"tag": ["a b"]}, "tags[0]"),
        ({"state": ["queued"], "cursor": 5}, "cursor"),
        ({"state": ["queued"], "submitted_after_ms": "now"}, "submitted_after_ms"),
        ({"error": "x" * 2_001}, "error"),
        ({"error_group": "x" * 2_001}, "error_group"),
    ],
)
async def test_an_unusable_selector_is_refused(http, body, field):
    """422 names the field; an empty selector, which would select every job, is refused too."""
    answer = await http.post("/jobs:cancel", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["remedy"]


async def test_a_signal_resumes_a_waiting_job(http, consumer):
    """202 has the outcome; the key makes a repeat safe; record and queue name the awaited signal."""
    job_id = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    (lease,) = await consumer.claim(1)
    await consumer.settle([Waiting(job_id=lease.job_id, token=lease.token, signals=(("approval", 1),))])
    waiting = (await http.get(f"/jobs/{job_id}")).json()
    assert (waiting["state"], waiting["waits_for"]) == ("waiting", ["approval"])
    assert (await http.get("/queue")).json()["waiting"] == 1
    (listed,) = (await http.get("/jobs", params={"state": "waiting"})).json()["jobs"]
    assert listed["job_id"] == job_id
    sent = [
        await http.post(f"/jobs/{job_id}/signals/approval", json={"ok": True}, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [(answer.status_code, answer.json()["outcome"]) for answer in sent] == [(202, "stored"), (202, "duplicate")]
    assert (await http.post(f"/jobs/{job_id}/signals/done")).status_code == 202  # no body: null
    lease = await consumer.serve_one()
    assert [await consumer.signal_value(lease, name, 1) for name in ("approval", "done")] == ['{"ok":true}', "null"]


async def test_a_signal_without_a_receiver_is_refused(http, consumer):
    """404, 409 and 422, each with the remedy."""
    job_id = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    await consumer.serve_one()
    refused = [await http.post(f"/jobs/{target}/signals/{name}") for target, name in ((job_id, "x"), ("nobody", "x"))]
    refused.append(await http.post(f"/jobs/{job_id}/signals/{'x' * 101}"))
    assert [(answer.status_code, answer.json()["type"].rpartition(":")[2]) for answer in refused] == [
        (409, "signal-refused"),
        (404, "unknown-job"),
        (422, "invalid-job"),
    ]
    assert all(answer.json()["remedy"] for answer in refused)


async def test_schedules_are_put_listed_paused_and_deleted(http):
    """A schedule by its name; the list has the next run. An interval has the units of every duration."""
    body = {"kind": "greet", "cron": "30 6 * * *", "time_zone": "Europe/Berlin", "overlap": "Skip"}
    assert (await http.put("/schedules/report", json=body)).json() == {"name": "report", "outcome": "stored"}
    (shown,) = (await http.get("/schedules")).json()["schedules"]
    assert (shown["name"], shown["overlap"], shown["declared"]) == ("report", "Skip", False)
    assert shown["next_due_ms"] > 0
    assert (await http.put("/schedules/report/paused", json={"paused": True})).json()["outcome"] == "paused"
    assert (await http.get("/schedules")).json()["schedules"][0]["next_due_ms"] is None
    assert (await http.delete("/schedules/report")).json()["outcome"] == "deleted"
    refused = await http.put("/schedules/report", json={"kind": "greet", "cron": "nonsense"})
    assert (refused.status_code, refused.json()["field"]) == (422, "cron")
    for unknown in (
        await http.delete("/schedules/report"),
        await http.put("/schedules/report/paused", json={"paused": True}),
    ):
        assert (unknown.status_code, unknown.json()["field"]) == (404, "name")
        assert unknown.json()["type"] == "urn:agentpool:problem:unknown-schedule"
    for every in (90, "90s", "1.5m"):
        assert (await http.put("/schedules/probe", json={"kind": "greet", "every": every})).status_code == 200
        assert (await http.get("/schedules")).json()["schedules"][0]["every_ms"] == 90_000
    twice = await http.put("/schedules/probe", json={"kind": "greet", "every": 90, "every_ms": 90_000})
    assert (twice.status_code, twice.json()["field"]) == (422, "every")


async def test_a_submit_without_its_durability_shows_no_words_of_the_server(http):
    """The kind of failure and the remedy are in the answer; the server's own text, which may name hosts, is not."""
    answer = await http.post("/jobs?durability=fsync", json={"kind": "greet"})
    body = answer.json()
    assert (answer.status_code, body["type"]) == (503, "urn:agentpool:problem:durability-unavailable")
    assert "nothing was submitted (appendonly is off)" in body["detail"]
    assert "set appendonly yes" in body["remedy"]
    assert "WAITAOF" not in answer.text
    assert "ERR" not in answer.text
