"""A job's text cannot control a terminal: each command escapes control characters, and the JSON output stays exact."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import yaml
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import JobRequest, PoolRef, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.keys import Keys

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\x7f\x00 end"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def agentpool(redis_url: str, pool: PoolRef):
    """Run a command as a user would, in a separate thread, against the test's pool."""
    environment = {"REDIS_URL": redis_url, "AGENTPOOL_POOL": str(pool), "AGENTPOOL_REDIS_URL": None, "KUBECONFIG": "/-"}

    async def run(*args: str) -> Result:
        runner = CliRunner(env=environment)
        return await asyncio.to_thread(runner.invoke, root, args, standalone_mode=False)

    return run


@pytest.fixture
async def jobs(redis, pool: PoolRef) -> dict[str, str]:
    """A dead, a succeeded, a running and a corrupt job, all with hostile texts."""
    await Inspector(redis).configure(pool, PoolSettings())
    worker = Consumer(redis, pool, WorkerId("w\x1b[31m\u202e"))
    await worker.register(slots=4, host=EVIL)
    made = {}
    for name in ("dead", "succeeded", "running"):
        made[name] = (await Producer(redis, pool).submit(JobRequest(kind="k", payload=EVIL))).job_id
        (lease,) = await worker.claim(1)
        await worker.progress(lease, EVIL)
        await worker.checkpoint(lease, {EVIL: "\udc80"})
        if name == "dead":
            await worker.settle([Failed(job_id=lease.job_id, token=lease.token, error=EVIL, retry=False)])
        if name == "succeeded":
            await worker.settle([Succeeded(job_id=lease.job_id, token=lease.token, result=[EVIL, "\udc80"])])
    bent = JobRequest(kind="k", priority=Priority.INFO)
    made["bent"] = (await Producer(redis, pool).submit(bent)).job_id
    await redis.hset(Keys(pool).job(made["bent"]), "spec", f"{EVIL}|default|info|||")
    await redis.hset(Keys(pool).job(made["bent"]), "payload", EVIL)
    return made


@pytest.mark.parametrize(
    "command",
    [
        "get",
        "get -o name",
        "get -o yaml",
        "get {dead}",
        "get {dead} --history",
        "get {bent}",
        "get {bent} -o yaml",
        "events",
        "dead list",
        "wait {succeeded}",
        "wait {dead}",
        "wait {dead} {succeeded}",
        "queue",
        "top --once",
        "wait {succeeded} -o yaml",
        "cancel {running}",
        "dead replay {dead}",
        "get \x1b[31m",
        "get {running} -o yaml",
    ],
)
async def test_no_control_sequence_of_a_terminal_is_printed(agentpool, jobs, command: str):
    """Neither output nor error contains an escape sequence, a reordering mark or half a character."""
    result = await agentpool(*command.format(**jobs).split())
    assert result.output or result.exception
    assert OBEYED.findall(result.output) == []


@pytest.mark.parametrize("command", ["get -o json", "get {dead} -o json", "dead list -o json", "wait {succeeded}"])
async def test_json_is_exact(agentpool, jobs, command: str):
    """The output has JSON's own escapes, so a program reads the job's exact text."""
    result = await agentpool(*command.format(**jobs).split())
    assert OBEYED.findall(result.output) == []
    assert _holds(json.loads(result.output), EVIL)


async def test_yaml_is_exact(agentpool, jobs):
    """A text that needs an escape is quoted, and a reader gets the original text."""
    document = yaml.safe_load((await agentpool("get", jobs["running"], "-o", "yaml")).output)
    assert document["progress"] == EVIL


async def test_events_as_json_are_one_line_each(agentpool, jobs):
    """Each line is a document, for any text of the job."""
    lines = (await agentpool("events", "-o", "json")).output.splitlines()
    assert any(EVIL in (json.loads(line)["detail"] or {}).values() for line in lines)


@pytest.mark.parametrize(
    "command", ["get X", "get X --history", "cancel X", "wait X", "dead replay X", "dead purge --yes X", "submit X",
                "submit k --id X", "submit k --key X", "submit k --after X", "events --job X", "get --pool X"],
)  # fmt: skip
async def test_a_name_that_is_not_utf_8_is_answered(agentpool, jobs, command: str):
    """A byte that the shell could not decode is an unknown name: an answer or a typed error, no traceback."""
    result = await agentpool(*command.replace("X", "\udcff").split())
    assert result.exception is None or isinstance(result.exception, AgentPoolError), repr(result.exception)
    assert OBEYED.findall(result.output) == []


async def test_text_that_is_not_utf_8_is_kept_escaped(agentpool, jobs, redis, pool: PoolRef):
    """A reason with half a character reaches the record."""
    job = (await Producer(redis, pool).submit(JobRequest(kind="k"))).job_id
    await Producer(redis, pool).cancel(job, reason="caf\udce9")
    assert (await Inspector(redis).job(pool, job)).reason == "caf\\udce9"


def _holds(document: object, text: str) -> bool:
    if isinstance(document, dict):
        return any(_holds(item, text) for pair in document.items() for item in pair)
    if isinstance(document, list):
        return any(_holds(item, text) for item in document)
    return document == text
