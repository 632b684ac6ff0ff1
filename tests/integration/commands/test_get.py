"""Lists, descriptions, contexts and completion with kubectl's conventions: jobs, pools and workers, in every format."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import JobId, JobRequest, JobState, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.selection import JobPage
from agentpool_core.queue.selector import JobSelector
from agentpool_core.queue.webhooks import Change, DeliveryOutcome, Webhook, Webhooks
from tests.fixtures.redis import wait_until

BIN = Path(sys.executable).parent


@pytest.fixture
def cli(redis_url: str, pool: PoolRef):
    """Run a command on the test's pool and Redis, in a separate thread."""
    environment = {"AGENTPOOL_POOL": str(pool), "AGENTPOOL_REDIS_URL": redis_url, "KUBECONFIG": "/-"}

    async def run(*args: str, **more: str) -> Result:
        return await asyncio.to_thread(CliRunner(env=environment | more).invoke, root, args, standalone_mode=False)

    run.environment = environment
    return run


def printed(result: Result) -> str:
    assert result.exception is None, result.exception
    return result.stdout


async def test_groups_of_commands_suggest_similar_names(cli):
    """A group below the first level suggests names too."""
    for group, wrong, right in (("schedules", "pasue", "pause"), ("limits", "lst", "list"), ("dead", "purg", "purge")):
        assert f"did you mean {right}" in str((await cli(group, wrong)).exception)


LOST = "\udcff"  # a byte that is not UTF-8, as Python passes it on


@pytest.mark.parametrize(
    "args",
    [
        ("get", "job", LOST),
        ("cancel", LOST),
        ("wait", LOST),
        ("stream", LOST),
        ("signal", LOST, "name"),
        ("signal", "job", LOST),
        ("replay", LOST),
        ("submit", LOST),
        ("submit", "greet", "1", "--key", LOST),
        ("submit", "greet", "1", "--tenant", LOST),
        ("submit", "greet", "1", "--id", LOST),
        ("cancel", "job", "--reason", LOST),
        ("get", "jobs", "--tag", LOST),
        ("get", "jobs", "--kind", LOST),
        ("get", "jobs", "--tenant", LOST),
        ("schedules", "pause", LOST),
        ("limits", "set", LOST, "--key", LOST, "--max-running", "1"),
        ("describe", "job", LOST),
        ("describe", "worker", LOST),
        ("describe", "schedule", LOST),
    ],
)
async def test_text_that_cannot_be_encoded_is_an_error_and_no_traceback(cli, args):
    """The error comes for an id, a name and a condition alike."""
    error = (await cli(*args)).exception
    assert error is None or isinstance(error, click.ClickException | AgentPoolError | SystemExit), repr(error)


@pytest.fixture
async def second(redis, pool: PoolRef) -> PoolRef:
    """A second pool of the same namespace."""
    other = PoolRef(pool.namespace, f"{pool.name}-second")
    await Inspector(redis).configure(other, PoolSettings())
    yield other
    await Inspector(redis).purge(other)


async def test_the_word_jobs_may_be_left_out(cli, redis, pool: PoolRef):
    """`get`, `get jobs` and `get job ID` work as in kubectl; the output of a single job is unchanged."""
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="first", tags=("nightly",)))
    plain = re.sub(r"\S+$", "", printed(await cli("get")), flags=re.MULTILINE)
    assert plain == re.sub(r"\S+$", "", printed(await cli("get", "jobs")), flags=re.MULTILINE)
    assert printed(await cli("get", "job", "first", "-o", "name")) == "first\n"
    wide = printed(await cli("get", "jobs", "-o", "wide")).splitlines()
    assert wide[0].split()[-4:] == ["ROUTE", "TENANT", "TAGS", "WHY"]
    assert "nightly" in wide[1]


async def test_an_empty_list_of_jobs_names_the_ended_jobs(cli, redis, pool: PoolRef):
    """A job that has ended already is not in the list, and the text says how to see it."""
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="first"))
    await Producer(redis, pool).cancel(JobId("first"))
    assert "--state all shows ended jobs too" in printed(await cli("get", "jobs"))
    assert "first" in printed(await cli("get", "jobs", "--state", "all"))
    assert printed(await cli("get", "jobs", "--state", "failed")) == f"no such jobs in pool {pool}\n"


async def test_a_job_that_starts_during_the_list_is_in_it(cli, redis, pool: PoolRef, monkeypatch):
    """The waiting jobs are read before the running ones, and the order of the list is unchanged."""
    read: list[JobState] = []
    find = Inspector.find

    async def recorded(self: Inspector, pool: PoolRef, selector: JobSelector, **options: Any) -> JobPage:
        read.extend(selector.states)
        return await find(self, pool, selector, **options)

    monkeypatch.setattr(Inspector, "find", recorded)
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="ready"))
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="later", delay_ms=60_000))
    lines = printed(await cli("get", "jobs")).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ready", "later"]
    assert read.index(JobState.SCHEDULED) < read.index(JobState.QUEUED) < read.index(JobState.RUNNING)
    assert read[-1] is JobState.FAILED


async def test_pools_are_listed_with_their_figures(cli, redis, pool: PoolRef, second: PoolRef, consumer):
    """Each pool of the namespace has a row with waiting and running jobs; names and documents work as well."""
    await Producer(redis, pool).submit(JobRequest(kind="greet"))
    rows = {
        line.split()[0]: line.split() for line in printed(await cli("get", "pools", "-n", pool.namespace)).splitlines()
    }
    assert rows["POOL"][1:6] == ["STATUS", "WORKERS", "RUNNING", "SLOTS", "QUEUED"]
    assert rows[str(pool)][1] == rows[str(second)][1] == "Active"
    assert (rows[str(pool)][5], rows[str(second)][5]) == ("1", "0")
    only = json.loads(printed(await cli("get", "pools", second.name, "-n", pool.namespace, "-o", "json")))
    assert [(each["pool"], each["queue"]["queued"]) for each in only] == [(str(second), 0)]
    named = printed(await cli("get", "pools", "-A", "-o", "name")).split()
    assert {str(pool), str(second)} <= set(named)


async def test_all_namespaces_have_a_column(cli, redis, pool: PoolRef, second: PoolRef):
    """`-A` lists the jobs of every pool, and excludes a pool option."""
    for of in (pool, second):
        await Producer(redis, of).submit(JobRequest(kind="greet", job_id=f"job-of-{of.name}"))
    shown = printed(await cli("get", "jobs", "-A", "--kind", "greet"))
    assert shown.startswith("POOL ")
    for of in (pool, second):
        assert re.search(rf"^{of}\s+job-of-{of.name}\s", shown, re.MULTILINE)
    assert int(printed(await cli("get", "jobs", "-A", "--kind", "greet", "--count"))) >= 2
    assert "leave out --pool" in str((await cli("get", "jobs", "-A", "--pool", "a/b")).exception)
    assert "no meaning for pools" in str((await cli("get", "pools", "--kind", "x")).exception)


async def test_workers_are_listed(cli, consumer, pool: PoolRef):
    """The list has jobs, slots, lease and host; `-A` adds the pool."""
    (header, row) = printed(await cli("get", "workers")).splitlines()
    assert header.split() == ["WORKER", "JOBS/SLOTS", "LEASE", "HOST", "NOTE"]
    assert "live" in row
    assert f"{pool} " in printed(await cli("get", "workers", "-A"))
    (document,) = json.loads(printed(await cli("get", "workers", "-o", "json")))
    assert document["pool"] == str(pool)
    assert document["name"] == row.split()[0]
    assert printed(await cli("get", "workers", "nobody")) == "no such workers\n"


async def test_jsonpath_prints_the_selected_values(cli, redis, pool: PoolRef):
    """The expression selects from the documents of `-o json`."""
    for number in range(2):
        await Producer(redis, pool).submit(JobRequest(kind="greet", job_id=f"job-{number}"))
    template = 'jsonpath={range [*]}{.job_id}={.state}{"\\n"}{end}'
    assert printed(await cli("get", "jobs", "-o", template)) == "job-0=queued\njob-1=queued\n\n"
    assert printed(await cli("queue", "-o", "jsonpath={.queued}")) == "2\n"
    assert "jsonpath" in str((await cli("get", "-o", "jsonpath={.a")).exception)
    assert "is none of table, wide" in str((await cli("get", "-o", "xml")).exception)


async def test_a_cut_list_says_so(cli, redis, pool: PoolRef):
    """The hint is on standard error, and names the way to the rest."""
    for _ in range(3):
        await Producer(redis, pool).submit(JobRequest(kind="greet"))
    result = await cli("get", "jobs", "--limit", "2")
    assert "only the first 2 jobs of state queued; there are more" in result.stderr


async def test_a_watched_list_prints_each_change_and_the_end(cli, redis, pool: PoolRef, consumer):
    """The list comes first, then a line for each new, changed or ended job, until Ctrl-C."""
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="first"))
    command = [sys.executable, "-m", "agentpool_core", "get", "jobs", "-w"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **cli.environment, "PYTHONUNBUFFERED": "1"}
    )
    seen: list[str] = []

    async def read() -> None:
        while line := await process.stdout.readline():
            seen.append(line.decode().rstrip())

    reading = asyncio.create_task(read())
    await wait_until(lambda: len(seen) >= 2, "the list is there")
    await consumer.serve_one()
    await wait_until(lambda: any("succeeded" in line for line in seen), "the end is printed")
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="second"))
    await wait_until(lambda: seen[-1].startswith("second"), "a new job is printed")
    process.send_signal(2)
    assert await process.wait() == 130
    await reading
    assert seen[0].startswith("JOB ")
    assert sum(line.startswith("JOB ") for line in seen) == 1
    assert [line.split()[0] for line in seen[1:]].count("second") == 1


async def test_a_job_is_described(cli, redis, pool: PoolRef):
    """The description has fields by name, values as JSON, the pending reason and the history.

    Control characters stay text.
    """
    request = JobRequest(
        kind="greet", job_id="first", payload={"name": "\x1b[2J"}, tags=("nightly",), delay_ms=3_600_000
    )
    await Producer(redis, pool).submit(request)
    shown = printed(await cli("describe", "job", "first"))
    for expected in ("Job:", "State:", "scheduled, attempt 0 of 5", "Tags:", "nightly", "Payload:", "History:"):
        assert expected in shown
    assert re.search(r"Pending:\s+the job is due in (1h|59m)", shown)
    assert "\x1b" not in shown
    assert str((await cli("describe", "job", "stranger")).exception).startswith("job 'stranger'")


async def test_a_failed_webhook_is_described(cli, redis, pool: PoolRef, consumer):
    """With the last answer of the receiver; a webhook without a message is listed too."""
    webhooks = Webhooks(redis, pool)
    receipt = await Producer(redis, pool).submit(JobRequest(kind="greet"))
    for name, change in (("mine", Change.SUCCEEDED), ("other", Change.FAILED)):
        await webhooks.put(receipt.job_id, Webhook(name=name, url="https://a.example/", changes=(change,)))
    await consumer.serve_one()
    (message,) = await webhooks.take(limit=5, reserve_ms=1_000)
    await webhooks.report(message, DeliveryOutcome.FAILED, "410 Gone")
    shown = printed(await cli("describe", "job", receipt.job_id))
    assert re.search(r"mine +https://a.example/ +succeeded +failed +1 +\S+ +410 Gone", shown)
    assert re.search(r"other +https://a.example/ +- +not sent +0", shown)


async def test_messages_that_were_given_up_are_listed_and_sent_again(cli, redis, pool: PoolRef, consumer):
    """The message is due again; without such a message, or for a stranger, the error names the reason."""
    webhooks = Webhooks(redis, pool)
    job_id = printed(await cli("submit", "greet", "--webhook", "https://a.example/", "-o", "name")).strip()
    await consumer.serve_one()
    (message,) = await webhooks.take(limit=5, reserve_ms=1_000)
    await webhooks.report(message, DeliveryOutcome.FAILED, "410 Gone")
    assert re.search(
        r"submit +https://a.example/ +succeeded +failed +1", printed(await cli("webhooks", "list", job_id))
    )
    again = printed(await cli("webhooks", "redeliver", job_id))
    assert again == "1 message of the webhook 'submit' is due again\n"
    assert [each.tries for each in await webhooks.take(limit=5, reserve_ms=1_000)] == [0]
    document = json.loads(printed(await cli("webhooks", "list", job_id, "-o", "json")))
    assert [each["url"] for each in document["webhooks"]] == ["https://a.example/"]
    assert "no message of this webhook was given up" in str((await cli("webhooks", "redeliver", job_id)).exception)
    assert "no such webhook" in str((await cli("webhooks", "redeliver", job_id, "mine")).exception)
    assert str((await cli("webhooks", "list", "stranger")).exception).startswith("job 'stranger'")


async def test_a_pool_is_described(cli, redis, pool: PoolRef, consumer):
    """The description has queue, routes, workers, settings, the causes of dead letters, and the latest events."""
    await Inspector(redis).configure(pool, PoolSettings(routes=(Route(name="fast", kinds=("greet",)),), max_attempts=1))
    await Producer(redis, pool).submit(JobRequest(kind="greet", job_id="first"))
    shown = printed(await cli("describe", "pool", str(pool)))
    for expected in ("Routes:", "fast", "Workers:", "Settings:", "Attempts:", "Latest events:", "queued", "first"):
        assert expected in shown
    assert "name the pool once" in str((await cli("describe", "pool", "a/b", "--pool", "a/b")).exception)


async def test_a_worker_is_described(cli, redis, pool: PoolRef, consumer):
    """The description has lease, slots, the jobs that run there, the latest failure and the worker's events."""
    for job_id in ("failing", "running"):
        await Producer(redis, pool).submit(JobRequest(kind="greet", job_id=job_id, max_attempts=1))
    await consumer.serve_one(error="no good\nTraceback")
    await consumer.take_one()
    shown = printed(await cli("describe", "worker", "w1"))
    assert re.search(r"State: +live\n", shown)
    assert re.search(r"Kinds: +any\nJobs: +1 running, 10 slots", shown)
    assert re.search(r"Last failure: +job failing: no good\n", shown)
    assert re.search(r"Running jobs:\n +JOB .*\n +running +greet +1 ", shown)
    assert re.search(r"Latest events:\n +AGE .*\n +\S+ +started +running ", shown)
    error = str((await cli("describe", "worker", "w2")).exception)
    assert error == f"worker 'w2' is not registered in pool '{pool}'; list the workers for their names"


async def test_a_schedule_is_described(cli):
    """The description has the due times that come next, in order; a paused schedule has none."""
    await cli("schedules", "create", "report", "summarize", '{"of": "yesterday"}', "--every", "90s")
    shown = printed(await cli("describe", "schedule", "report"))
    for expected in (r"Due: +every 1m30s\n", r"State: +active\n", r"Kind: +summarize\n", r'Payload:\n +\{\n +"of"'):
        assert re.search(expected, shown), shown
    due = re.findall(r"^  (\S+Z) \(in ", shown, flags=re.MULTILINE)
    assert (len(due), sorted(set(due))) == (5, due)
    await cli("schedules", "pause", "report")
    assert re.search(
        r"State: +paused\n(.|\n)*Next due times:\n  none", printed(await cli("describe", "schedule", "report"))
    )
    assert "name: 'stranger': no such schedule" in str((await cli("describe", "schedule", "stranger")).exception)


async def test_pools_of_a_cluster_come_with_their_workers(cli, declared_pool, pool: PoolRef, server_kubeconfig: Path):
    """Without a Redis URL the cluster's AgentPools name their Redis; without both, the error says so."""
    without = {"AGENTPOOL_REDIS_URL": "", "REDIS_URL": "", "AGENTPOOL_POOL": "", "KUBECONFIG": str(server_kubeconfig)}
    shown = printed(await cli("get", "pools", "-A", "-o", "wide", **without)).splitlines()
    assert shown[0].split()[-4:] == ["READY", "DESIRED", "MAX", "REASON"]
    (row,) = (line for line in shown if line.startswith(f"{pool} "))
    assert "Active" in row
    assert str(pool) in printed(await cli("top", "-A", "--once", "--every", "100ms", **without))
    assert "Settings:" in printed(await cli("describe", "pool", str(pool), **without))
    nothing = without | {"KUBECONFIG": "/-"}
    assert "--redis: no flag or environment variable names the Redis" in str(
        (await cli("get", "pools", **nothing)).exception
    )


async def test_top_shows_all_pools_with_rates(cli, redis, pool: PoolRef, second: PoolRef):
    """Without a pool or with -A, each pool of the namespace has a line."""
    for words in (["-A"], ["-n", pool.namespace]):
        shown = printed(await cli("top", "--once", "--every", "100ms", *words, AGENTPOOL_POOL=""))
        rows = {line.split()[0]: line.split() for line in shown.splitlines()}
        assert rows["POOL"][-4:] == ["IN/S", "OUT/S", "DESIRED", "MAX"]
        assert rows[str(second)][-4:-2] == ["0.0", "0.0"]


def kubeconfig(path: Path, namespaces: dict[str, str]) -> Path:
    """A kubeconfig with a context for each namespace; the first is the current context."""
    contexts = [{"name": name, "context": {"namespace": each}} for name, each in namespaces.items()]
    path.write_text(yaml.safe_dump({"contexts": contexts, "current-context": contexts[0]["name"]}))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["--kubeconfig", "FILE", "--context", "other", "get", "pools"],
        ["get", "--context", "other", "pools", "--kubeconfig", "FILE"],
        ["get", "pools", "--kubeconfig=FILE", "--context=other"],
        ["-n", "of-other", "get", "pools"],
        ["get", "pools", "-n", "of-other"],
    ],
)
async def test_kubectls_options_stand_anywhere(cli, tmp_path: Path, words: list[str]):
    """Options work before and after the subcommand; the context gives the namespace, as in kubectl."""
    file = kubeconfig(tmp_path / "config", {"one": "of-one", "other": "of-other"})
    before = dict(os.environ)
    result = await cli(*[word.replace("FILE", str(file)) for word in words])
    assert printed(result) == "no such pools in of-other\n"
    assert dict(os.environ) == before


def test_kubectl_completes_commands_and_pools(redis_url: str, pool: PoolRef, configured):
    """`kubectl_complete-agentpool` answers in cobra's form, by name in the namespace in use."""

    def complete(*words: str) -> list[str]:
        environment = {**os.environ, "AGENTPOOL_REDIS_URL": redis_url, "AGENTPOOL_NAMESPACE": pool.namespace}
        done = subprocess.run(
            [BIN / "kubectl_complete-agentpool", *words],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert complete("descr") == ["describe\tShow everything about a job, a pool, a...", ":4"]
    assert complete("get", "w") == ["workers", ":4"]
    assert complete("get", "-o", "js") == ["json", "jsonpath=", ":4"]
    assert complete("queue", "--pool", pool.name) == [pool.name, ":4"]
    assert complete("queue", "--pool", str(pool)) == [str(pool), ":4"]
    assert complete("queue", "--redis", "redis://127.0.0.1:1/0", "--pool", "") == [":4"]


@pytest.fixture
async def configured(redis, pool: PoolRef) -> None:
    await Inspector(redis).configure(pool, PoolSettings())


async def test_a_submit_brings_a_webhook(cli, redis, pool):
    """The webhook belongs to each job of the call; its address is checked by the gateway that sends."""
    receipt = json.loads(printed(await cli("submit", "greet", "1", "--webhook", "https://example.org/", "-o", "json")))
    (hook,), _ = await Webhooks(redis, pool).of_job(receipt["job_id"])
    assert hook.url == "https://example.org/"


async def test_each_line_of_a_file_may_bring_a_webhook(cli, redis, pool, tmp_path: Path):
    """A URL or an object, before the address of all lines; a wrong webhook is named with its line."""
    file, webhooks = tmp_path / "jobs.ndjson", Webhooks(redis, pool)
    lines = [
        {"kind": "greet", "job_id": "own", "webhook": {"url": "https://own.example/", "changes": ["failed"]}},
        {"kind": "greet", "job_id": "short", "webhook": "https://short.example/"},
        {"kind": "greet", "job_id": "common"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    printed(await cli("submit", "--file", str(file), "--webhook", "https://common.example/"))
    for job_id in ("own", "short", "common"):
        (hook,), _ = await webhooks.of_job(job_id)
        assert hook.url == f"https://{job_id}.example/"
        assert (hook.changes == (Change.FAILED,)) is (job_id == "own")
    file.write_text(
        '{"kind": "greet"}\n{"kind": "greet", "webhook": {"url": "https://a.example/", "changes": ["gone"]}}'
    )
    refused = str((await cli("submit", "--file", str(file))).exception)
    assert refused.startswith(f"{file}:2: changes: 'gone'")
