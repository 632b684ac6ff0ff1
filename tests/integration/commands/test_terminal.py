"""The commands against a real Redis, with a consumer in the test as the worker."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.commands.logs import JobLog
from agentpool_core.errors import AgentPoolError, DurabilityUnavailableError, UnknownJobError
from agentpool_core.jobs import Durability, JobRequest, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, Route, acl, connect
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.connection.client import check_server

CLOSED = PoolSettings(routes=(Route(name="r", kinds=("known",)),), refuse_unlisted_kinds=True)


@pytest.fixture
def agentpool(redis_url: str, pool: PoolRef):
    """Run a command as a user would, in a separate thread, against the test's pool."""
    environment = {"REDIS_URL": redis_url, "AGENTPOOL_POOL": str(pool), "AGENTPOOL_REDIS_URL": None, "KUBECONFIG": "/-"}

    async def run(*args: str, stdin: str | None = None, **more: str | None) -> Result:
        runner = CliRunner(env=environment | more)
        return await asyncio.to_thread(runner.invoke, root, args, input=stdin, standalone_mode=False)

    return run


async def test_submit_prints_the_id_and_get_shows_the_job(agentpool):
    """A script needs only `JOB=$(agentpool submit … -o name)`."""
    submitted = await agentpool("submit", "greet", '{"name": "you"}', "--priority", "critical", "-o", "name")
    job = submitted.output.strip()
    found = json.loads((await agentpool("get", job, "-o", "json")).output)
    assert (found["state"], found["priority"], found["payload"]) == ("queued", "critical", {"name": "you"})
    assert job in (await agentpool("get", "--state", "queued")).output


async def test_submit_waits_for_the_result(agentpool, consumer):
    """`--wait` prints the result as JSON and exits with 0."""
    waiting = asyncio.create_task(agentpool("submit", "greet", "-", "--wait", stdin="[1, 2]"))
    await consumer.serve_one()
    result = await waiting
    assert (json.loads(result.output), result.return_value) == ({"echo": [1, 2]}, 0)


async def test_a_job_that_fails_ends_the_wait_with_exit_code_3(agentpool, consumer):
    """The reason goes to standard error, and scripts read the code."""
    waiting = asyncio.create_task(agentpool("submit", "greet", "--wait"))
    await consumer.serve_one(error="no good")
    result = await waiting
    assert result.return_value == 3
    assert "ended as failed: no good" in result.stderr


async def test_waiting_too_long_ends_with_exit_code_4(agentpool):
    """The job continues; only the wait ends."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    result = await agentpool("wait", job, "--timeout", "50ms")
    assert result.return_value == 4
    assert "has not ended within the timeout" in result.stderr


async def test_a_file_of_jobs_is_submitted_in_order(agentpool, tmp_path: Path):
    """Each line is a job; blank lines do not count; a known key is reported as known."""
    lines = [{"kind": "greet", "payload": n, "idempotency_key": f"k{n % 3}"} for n in (0, 1, 2)]
    file = tmp_path / "jobs.ndjson"
    file.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    assert "3 jobs submitted, 0 of them" in (await agentpool("submit", "--file", str(file))).output
    assert "3 jobs submitted, 3 of them" in (await agentpool("submit", "--file", str(file))).output
    listed = json.loads((await agentpool("get", "-o", "json")).output)
    assert [job["payload"] for job in listed] == [0, 1, 2]


async def test_with_a_kind_each_line_is_a_payload(agentpool):
    """A list of inputs needs no wrapping."""
    result = await agentpool("submit", "greet", "--file", "-", stdin='{"a": 1}\n{"a": 2}\n')
    assert "2 jobs submitted" in result.output


async def test_a_wrong_line_is_named(agentpool):
    """The error names the line, the field and the remedy; no job of the line's slice was sent."""
    result = await agentpool("submit", "--file", "-", stdin='{"kind": "a"}\n{"kind": "a", "prio": 1}\n')
    assert isinstance(result.exception, AgentPoolError)
    assert "standard input:2: prio: 1: no such field; use kind" in str(result.exception)
    assert result.exception.exit_code == 2
    assert json.loads((await agentpool("get", "-o", "json")).output) == []


async def test_a_line_that_the_queue_refuses_is_named(agentpool, redis, pool: PoolRef):
    """Blank lines count, and the message reports the remaining lines; the exit code is that of a refusal."""
    await Inspector(redis).configure(pool, CLOSED)
    for line, problem in (
        ('{"kind": "other"}', "kind: 'other': not listed by a route"),
        ('{"kind": "a b"}', "kind: 'a b': not a name that the queue takes"),
        ('{"kind": "known", "after": ["nobody"]}', "after[0]: 'nobody': no job of that id"),
    ):
        result = await agentpool("submit", "--file", "-", stdin=f'{{"kind": "known"}}\n\n{line}\n')
        assert isinstance(result.exception, AgentPoolError)
        assert str(result.exception).startswith(f"standard input:3: {problem}")
        assert str(result.exception).endswith("; nothing was submitted")
        assert result.exception.exit_code == 1
    assert json.loads((await agentpool("get", "-o", "json")).output) == []


async def test_a_refused_line_is_named_though_the_queue_was_full_in_between(
    agentpool, consumer, redis, pool: PoolRef, monkeypatch: pytest.MonkeyPatch
):
    """Jobs stored before the wait count, and do not shift the line number."""
    monkeypatch.setattr("agentpool_core.queue.producer.JOBS_A_CALL", 1)
    await Inspector(redis).configure(pool, replace(CLOSED, max_depth=1))
    lines = '{"kind": "known"}\n{"kind": "known"}\n{"kind": "other"}\n'
    waiting = asyncio.create_task(agentpool("submit", "--file", "-", stdin=lines))
    for _ in range(2):
        await consumer.serve_one()
    told = str((await waiting).exception)
    assert told.startswith("standard input:3: kind: 'other'")
    assert told.endswith("; submitted before it: 2")


async def test_dead_letters_are_listed_replayed_and_purged(agentpool, consumer):
    """The commands after a bad deploy, in order."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    await consumer.serve_one(error="first line\nsecond line")
    listed = (await agentpool("dead", "list")).output
    assert "first line" in listed
    assert "second line" not in listed
    assert "queued again" in (await agentpool("dead", "replay", job)).output
    await consumer.serve_one(error="again")
    assert (await agentpool("dead", "list", "-o", "name")).output.split() == [job]
    unasked = await agentpool("dead", "purge", "--all", stdin="")
    assert isinstance(unasked.exception, click.UsageError)
    assert "pass --yes" in unasked.exception.message
    assert "1 dead letter deleted" in (await agentpool("dead", "purge", "--all", "--yes")).output
    assert "no dead letters" in (await agentpool("dead", "list")).output
    events = await agentpool("events", "--job", job)  # which outlive the job
    assert "  first line\n" in events.output
    assert "second line" not in events.output
    assert events.exception is None


async def test_cancel_reports_the_outcome(agentpool, consumer):
    """A waiting job ends at once; an ended job stays unchanged."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    assert f"job {job} cancelled" in (await agentpool("cancel", job)).output
    assert f"job {job} had ended before" in (await agentpool("cancel", job, "--tree")).output
    assert (await agentpool("wait", job)).return_value == 3


async def test_a_submit_replaces_the_earlier_job_of_its_key(agentpool):
    """An earlier job that waits is cancelled; a submit that keeps it names it."""
    newest = ("submit", "greet", "--key", "index", "--on-conflict", "replace", "--delay", "1h", "-o", "name")
    first, second = [(await agentpool(*newest)).output.strip() for _ in range(2)]
    assert f"replaced by job {second}" in (await agentpool("get", first)).output
    kept = await agentpool("submit", "greet", "7", "--key", "index", "--on-conflict", "keep", "-o", "name")
    assert kept.output.strip() == second


async def test_the_queue_is_shown_by_route_and_priority(agentpool, consumer, redis, pool: PoolRef):
    """The figures of the table and the document agree."""
    for priority in ("critical", "task", "task", "info"):
        await agentpool("submit", "greet", "--priority", priority)
    document = json.loads((await agentpool("queue", "-o", "json")).output)
    assert document["depth"] == 4
    assert document["routes"][0]["queued"] == {"critical": 1, "task": 2, "info": 1}
    shown = (await agentpool("queue", "--workers")).output
    assert "4 queued" in shown
    assert "w1" in shown
    assert "a new task would wait 0ms" in shown
    await Inspector(redis).configure(pool, PoolSettings(paused=True))
    shown = (await agentpool("queue")).output
    assert "0 of 10 slots used in 1 worker, PAUSED\n" in shown


async def test_the_running_jobs_of_pool_and_workers_agree(agentpool, consumer):
    """Both are counted at once; a worker's report would be a heartbeat old."""
    for _ in range(4):
        await agentpool("submit", "greet")
    assert len(await consumer.claim(3)) == 3
    shown = (await agentpool("queue", "--workers")).output
    assert "3 running, 3 of 10 slots used in 1 worker," in shown
    assert "3/10" in shown
    document = json.loads((await agentpool("queue", "-o", "json")).output)
    assert [worker["running"] for worker in document["workers"]] == [document["running"]] == [3]


async def test_events_and_history_show_every_change(agentpool, consumer, pool: PoolRef):
    """The pool's events are JSON lines, and the job has a history."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    await consumer.serve_one()
    lines = [json.loads(line) for line in (await agentpool("events", "-o", "json", "--job", job)).output.splitlines()]
    assert [line["type"] for line in lines] == ["queued", "started", "succeeded"]
    history = json.loads((await agentpool("get", job, "--history", "-o", "json")).output)
    assert [entry["type"] for entry in history] == ["queued", "started", "succeeded"]
    unknown = await agentpool("events", "--job", "nosuch")
    assert isinstance(unknown.exception, UnknownJobError)
    assert f"job 'nosuch' is not in pool '{pool}'" in str(unknown.exception)


async def test_the_record_of_a_job_has_a_history_with_reasons(agentpool, consumer):
    """Each change that left an error or has a reason shows the text; all further changes show none."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    lease = await consumer.take_one()
    error = "no good\nat all"
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error=error, retry_after_ms=60_000)])
    await agentpool("cancel", job)
    rows = [line.split() for line in (await agentpool("get", job, "--history")).output.splitlines()[1:]]
    assert [row[1] for row in rows] == ["queued", "started", "retrying", "cancelled"]
    assert [" ".join(row[4:]) for row in rows] == ["-", "-", "no good", "requested"]
    document = json.loads((await agentpool("get", job, "-o", "json")).output)
    assert [entry["type"] for entry in document["history"]] == [row[1] for row in rows]


async def test_get_shows_the_reason_of_an_end_without_a_result(agentpool, consumer):
    """The first line of the error, or the reason of the cancel, is below the job's row."""
    failed = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    lease = await consumer.take_one()
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no good\nat all", retry=False)])
    assert (await agentpool("get", failed)).output.endswith("\n\nfailed: no good\n")
    assert "no good" not in (await agentpool("get", failed, failed)).output
    cancelled = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    await agentpool("cancel", cancelled, "--reason", "too late")
    assert (await agentpool("get", cancelled)).output.endswith("\n\ncancelled: too late\n")


async def test_get_shows_the_pending_reason_of_a_job(agentpool, redis, pool: PoolRef):
    """The reason is below the row of a single job; a table of several jobs has no room."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    assert "\n\nnot started: no worker claims jobs" in (await agentpool("get", job)).output
    await Inspector(redis).configure(pool, PoolSettings(paused=True))
    assert "not started: the pool is paused" in (await agentpool("get", job)).output
    assert "not started" not in (await agentpool("get", job, job)).output


async def test_an_error_is_shown_with_its_attempt(agentpool, consumer):
    """The record and the log name the failed or lost attempt, even of a job that succeeded."""
    job, other = [(await agentpool("submit", "greet", "-o", "name")).output.strip() for _ in range(2)]
    lease = await consumer.take_one()
    await consumer.serve_one(error="first line\nsecond line")
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no good", retry_after_ms=0)])
    await consumer.maintain()
    assert await record(agentpool, job) == ("queued", 1, "no good", 1)
    assert "attempt 1 failed: no good" in (await agentpool("logs", job)).stdout
    await consumer.take_one()
    await consumer.deregister()
    await consumer.register(slots=10, host="here")
    await consumer.serve_one()
    state, attempts, error, failed = await record(agentpool, job)
    assert (state, attempts, failed) == ("succeeded", 3, 2)
    assert f"attempt 2 failed: {error}" in (await agentpool("logs", job)).stdout
    _, first, second = (await agentpool("wait", job, other)).output.splitlines()
    assert first.split() == [job, "greet", "succeeded", "3", "-"]
    assert second.endswith("failed      1          first line")


async def record(agentpool, job: str) -> tuple[str, int, str, int]:
    """Return state, attempts, the last error and its attempt."""
    found = json.loads((await agentpool("get", job, "-o", "json")).output)
    return found["state"], found["attempt"], found["last_error"], found["last_error_attempt"]


async def test_top_prints_plainly_when_piped(agentpool, consumer):
    """The output is a single reading with rates."""
    assert "finished/s" in (await agentpool("top", "--once", "--every", "100ms")).output


async def test_the_doctor_finds_a_real_redis_fit(agentpool, consumer):
    """Every finding of the test's server is listed, and the pool is examined too."""
    result = await agentpool("doctor", "-o", "json")
    levels = {finding["check"]: finding["level"] for finding in json.loads(result.output)}
    assert levels["permissions"] == levels["pool"] == levels["workers"] == "ok"
    assert levels["durability"] == "warning"
    assert result.return_value == 0


async def test_the_doctor_reports_a_durability_that_redis_cannot_confirm(agentpool, redis, pool):
    """Submits to a pool with `durability: Fsync` are refused without an append-only file, as the finding says."""
    await Inspector(redis).configure(pool, PoolSettings(durability=Durability.FSYNC))
    with pytest.raises(DurabilityUnavailableError):
        await Producer(redis, pool).submit(JobRequest(kind="k"))
    result = await agentpool("doctor")
    assert result.return_value == 1
    assert "✗ confirmation: spec.queue.durability is Fsync, and the append-only file is off" in result.output
    assert "→ set appendonly yes" in result.output


async def test_the_doctor_reports_and_repairs_contradictions_of_a_queue(agentpool, consumer, redis, pool):
    """The output has kind, count and job, nothing changes before --repair, and no worker is needed."""
    job = (await Producer(redis, pool).submit(JobRequest(kind="k"))).job_id
    assert len(await consumer.claim(1)) == 1
    await redis.delete(f"ap:{{{pool}}}:job:{job}", f"ap:{{{pool}}}:workers")

    async def consistency(*flags: str) -> list[tuple[str, str, str | None]]:
        found = json.loads((await agentpool("doctor", "-o", "json", *flags)).output)
        return [(f["level"], f["found"], f["remedy"]) for f in found if f["check"] == "consistency"]

    told = await consistency()
    assert ("warning", f"1 × an entry without a job: {job}", f"agentpool doctor --pool {pool} --repair") in told
    assert await consistency() == told
    repaired = await consistency("--repair")
    assert ("ok", f"1 × an entry without a job: {job}; repaired", None) in repaired
    assert {level for level, *_ in repaired} == {"ok"}
    assert await consistency() == [("ok", "counters, entries and records agree", None)]


async def test_only_a_named_pool_can_be_repaired(agentpool):
    """Without --pool the command is wrong usage, before any request."""
    result = await agentpool("doctor", "--repair", AGENTPOOL_POOL=None)
    assert isinstance(result.exception, click.UsageError)
    assert "--repair needs --pool" in str(result.exception)


async def test_the_doctor_reports_a_wrong_clock(agentpool, monkeypatch: pytest.MonkeyPatch):
    """The finding has the offset and the remedy; a small offset is no finding."""
    now = time.time
    for ahead_s, level in ((0.0, "ok"), (5.0, "warning"), (-5.0, "warning")):
        monkeypatch.setattr("agentpool_core.doctor.redis.time", SimpleNamespace(time=lambda: now() + ahead_s))  # noqa: B023
        found = json.loads((await agentpool("doctor", "-o", "json")).output)
        (clock,) = (finding for finding in found if finding["check"] == "clock")
        assert clock["level"] == level, clock
        assert (clock["remedy"] is None) is (level == "ok")


async def test_the_doctor_reports_the_missing_rights_of_a_redis_user(agentpool, redis_server_factory):
    """The documented rules of submitters and workers are enough on their pools; the probe leaves nothing behind."""
    server = redis_server_factory()
    async with connect(server.url) as admin:
        major, minor, *_ = (await check_server(admin)).split(".")
        version = int(major), int(minor)
        worker = acl.rules(acl.Role.WORKER, version=version)
        submitter = acl.rules(acl.Role.SUBMITTER, pools="research/*", version=version)
        for user, rules, pool, sign in (
            ("worker", worker, "", "✓"),
            ("lacking", [*worker, "-xreadgroup"], "", "✗"),
            ("submitter", submitter, "research/analysts", "✓"),
            ("submitter", submitter, "other/analysts", "✗"),
        ):
            await admin.execute_command("ACL", "SETUSER", user, "reset", "on", ">open-sesame", *rules)
            url = server.tcp_url.replace("redis://", f"redis://{user}:open-sesame@")
            result = await agentpool("doctor", "--redis", url, "--pool", pool)
            (line,) = (line for line in result.output.splitlines() if " permissions: " in line)
            assert line[0] == sign, result.output
            assert pool or result.return_value == (0 if sign == "✓" else 1)
            assert "open-sesame" not in result.output
        assert await admin.keys("*") == []


async def test_the_doctor_names_an_absent_kubeconfig(agentpool):
    """The user named the kubeconfig, so skipping the file in silence would mislead."""
    result = await agentpool("doctor")
    finding = "! kubernetes: KUBECONFIG names /-, which does not exist\n    → correct KUBECONFIG, or unset it"
    assert finding in result.output


async def test_a_payload_that_is_no_json_is_wrong_usage(agentpool):
    """Exit code 2 comes before any request to the queue; the remedy is about quoting."""
    result = await agentpool("submit", "greet", "{bad", "--redis", "redis://127.0.0.1:1/0")
    assert isinstance(result.exception, AgentPoolError)
    assert result.exception.exit_code == 2
    assert "quote it for the shell" in str(result.exception)


async def test_the_doctor_says_that_redis_does_not_answer(agentpool, tmp_path: Path):
    """The failure exits with code 1, without a traceback."""
    result = await agentpool("doctor", "--redis", f"unix://{tmp_path}/nothing")
    assert result.return_value == 1
    assert "✗ redis: Redis did not answer" in result.output


async def test_completion_scripts_are_printed(agentpool):
    """The command prints a script for each shell that click knows."""
    for shell in ("bash", "zsh", "fish"):
        assert "_AGENTPOOL_COMPLETE" in (await agentpool("completion", shell)).output


async def test_a_trace_is_replayed_at_its_pace(agentpool, tmp_path: Path):
    """The replay is a thousand times as fast; the output has the number of sent jobs and the delay."""
    rows = [f"2023-11-16 18:17:{second:02d}.5000000,{second},1" for second in range(40)]
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    result = await agentpool("trace", str(trace), "--speed", "1000", "--kind", "greet", "--priority", "info")
    assert "40 jobs submitted" in result.output, result.exception
    assert "39s of the trace" in result.output
    jobs = json.loads((await agentpool("get", "-o", "json")).output)
    assert [job["payload"]["ContextTokens"] for job in jobs] == list(range(40))
    assert {job["priority"] for job in jobs} == {"info"}


async def test_submit_waits_for_a_full_queue_and_sends_no_job_twice(agentpool, consumer, redis, pool: PoolRef):
    """`submit --file` continues when the queue has room again."""
    await Inspector(redis).configure(pool, PoolSettings(max_depth=3))
    await agentpool("submit", "greet", "--file", "-", stdin="1\n2\n3\n")
    waiting = asyncio.create_task(agentpool("submit", "greet", "--file", "-", stdin="4\n5\n"))
    for _ in range(3):
        await consumer.serve_one()
    assert "2 jobs submitted, 0 of them" in (await waiting).output
    assert (await Inspector(redis).snapshot(pool)).queued == 2


async def test_logs_report_the_missing_part(agentpool, consumer):
    """Without a cluster the command has only the job's error, and the exit code says that logs are missing."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    assert "no worker has started it" in (await agentpool("logs", job)).stderr
    await consumer.serve_one(error="no good")
    result = await agentpool("logs", job)
    assert "attempt 1 failed: no good" in result.stdout
    assert "no log of w1: no kubeconfig" in result.stderr
    assert result.return_value == 5


@pytest.mark.parametrize("options", [(), ("-f",)])
async def test_logs_print_the_output_of_a_job(agentpool, consumer, options):
    """Without a cluster the output comes alone, as `stream` prints it; the exit code says that logs are missing."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    lease = await consumer.take_one()
    await consumer.emit(lease, 1, ['"Hel"', '"lo\\u001b"'])
    printing = asyncio.create_task(agentpool("logs", job, *options)) if options else None
    await consumer.emit(lease, 3, ['{"n": 1}', '"end"'])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    result = await (printing or agentpool("logs", job))
    assert result.stdout == 'Hello\\u001b\n{"n": 1}\nend\n' == (await agentpool("stream", job)).stdout
    assert "no log of w1: no kubeconfig" in result.stderr
    assert result.return_value == 5


async def test_output_stands_between_the_log_lines_that_come(redis, pool: PoolRef, consumer, capsys):
    """A log line begins a line of its own, also while a text of the output has not ended; nothing is printed twice."""
    pods = {"w1": "job {job} begun"}

    class Pods:
        async def text(self, path: str, *, container: str) -> str:
            assert container == "worker"
            return pods[path.split("/")[-2]].format(job=receipt.job_id)

    receipt = await Producer(redis, pool).submit(JobRequest(kind="greet"))
    lease = await consumer.take_one()
    log = JobLog(Pods(), redis, pool)
    for number, line in enumerate(("", "\njob {job} goes on"), start=1):
        pods["w1"] += line
        await consumer.emit(lease, number, [f'"chunk {number}"'])
        await log.print_new(await Inspector(redis).job(pool, receipt.job_id))
    log.end()
    job = receipt.job_id
    assert capsys.readouterr().out == f"job {job} begun\nchunk 1\njob {job} goes on\nchunk 2\n"


async def test_logs_of_a_worker_that_is_no_pod_say_so(agentpool, consumer, server_kubeconfig: Path):
    """The API server's own message would not help."""
    job = (await agentpool("submit", "greet", "-o", "name")).output.strip()
    await consumer.serve_one()
    result = await agentpool("logs", job, KUBECONFIG=str(server_kubeconfig))
    assert "no log of w1: no such pod; a log collector" in result.stderr
    assert "/api/v1" not in result.stderr
    assert result.return_value == 5


async def test_the_example_of_the_help_reaches_every_job(agentpool, redis, pool):
    """`agentpool get --state queued -o name | xargs agentpool cancel` cancels more jobs than a table shows."""
    await Producer(redis, pool).submit_many([JobRequest(kind="greet")] * 230)
    names = (await agentpool("get", "--state", "queued", "-o", "name")).output.split()
    assert len(names) == 230
    await agentpool("cancel", *names)
    assert (await agentpool("get", "--state", "cancelled", "--count")).output == "230\n"


async def test_a_list_that_was_cut_says_so(agentpool, redis, pool):
    """The hint is on standard error, in every format; a complete list has no hint."""
    await Producer(redis, pool).submit_many([JobRequest(kind="greet")] * 101)
    for form in ("table", "json"):
        shown = await agentpool("get", "-o", form)
        assert "only the first 100 jobs of state queued" in shown.stderr
        assert "--limit 0" in shown.stderr
    assert (await agentpool("get", "--limit", "101")).stderr == ""
    assert len((await agentpool("get", "--limit", "0")).stdout.splitlines()) == 102


async def test_selected_jobs_are_cancelled_counted_and_purged(agentpool):
    """By tag; the jobs of a different tag stay."""
    for tag in ("nightly", "nightly", "daily"):
        await agentpool("submit", "greet", "--tag", tag, "--tag", "customer=acme")
    assert (await agentpool("get", "--tag", "nightly", "--count")).output == "2\n"
    assert json.loads((await agentpool("get", "--tag", "nightly", "--count", "-o", "json")).output) == {"count": 2}
    cancelled = await agentpool("cancel", "--tag", "nightly", "--submitted-after", "1h", "--reason", "old")
    assert cancelled.output == "2 jobs cancelled, or asked to stop\n"
    assert len((await agentpool("get", "--state", "cancelled", "-o", "name")).output.split()) == 2
    assert (await agentpool("purge", "--state", "all", "--tag", "nightly", "--yes")).output == "2 jobs deleted\n"
    assert (await agentpool("get", "--state", "all", "--count")).output == "1\n"


async def test_dead_letters_are_replayed_and_purged_by_kind(agentpool, consumer):
    """The conditions of a selector apply to dead letters."""
    for kind in ("greet", "other"):
        await agentpool("submit", kind, "--max-attempts", "1")
        await consumer.serve_one(error="no")
    assert (await agentpool("dead", "replay", "--kind", "greet")).output == "1 job queued again\n"
    assert "other" in (await agentpool("dead", "list", "--kind", "other")).output
    assert (await agentpool("dead", "purge", "--kind", "other", "--yes")).output == "1 dead letter deleted\n"


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("cancel",), "--all"),
        (("cancel", "x", "--tag", "a"), "select them"),
        (("cancel", "--state", "succeeded"), "succeeded"),
        (("cancel", "--tag", "a b"), "a b"),
        (("cancel", "--tag", "a", "--tree"), "--tree"),
        (("get", "--submitted-after", "yesterday"), "2h"),
        (("get", "x", "--tag", "a"), "not both"),
        (("purge", "--tag", "a", "--yes"), "--state"),
        (("purge", "--state", "succeeded"), "--yes"),
    ],
)
async def test_a_meaningless_selection_is_wrong_usage(agentpool, args, named):
    """The error names the option or the value."""
    failed = await agentpool(*args)
    assert named in str(failed.exception)


async def test_schedules_are_created_listed_paused_and_deleted(agentpool):
    """The list has the next run; a wrong expression is refused by name."""
    created = await agentpool(
        "schedules", "create", "report", "greet", '{"a": 1}', "--cron", "30 6 * * *", "--time-zone", "Europe/Berlin"
    )
    assert created.output == "schedule report stored\n"
    (shown,) = json.loads((await agentpool("schedules", "list", "-o", "json")).output)
    assert (shown["cron"], shown["payload"], shown["paused"]) == ("30 6 * * *", {"a": 1}, False)
    assert shown["next_due_ms"] > 0
    await agentpool("schedules", "pause", "report")
    assert "paused" in (await agentpool("get", "schedules")).output
    assert (await agentpool("get", "schedule", "report", "absent", "-o", "name")).output == "report\n"
    await agentpool("schedules", "resume", "report")
    assert (await agentpool("schedules", "list", "-o", "name")).output == "report\n"
    await agentpool("schedules", "delete", "report")
    assert "no schedules" in (await agentpool("schedules", "list")).output
    assert "cron" in str((await agentpool("schedules", "create", "x", "greet", "--cron", "99 * * * *")).exception)
    assert "x" in str((await agentpool("schedules", "delete", "x")).exception)
