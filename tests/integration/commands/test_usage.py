"""`agentpool usage`, and the usage of a single job in `get` and `describe`."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.usage import UsageReport


@pytest.fixture
async def agentpool(redis, pool, redis_url):
    """Run a command on a pool, in a thread, because the command starts an event loop."""
    await Inspector(redis).configure(pool, PoolSettings())

    async def run(*args: str) -> Result:
        where = ("--pool", str(pool), "--redis", redis_url)
        return await asyncio.to_thread(CliRunner().invoke, root, [*args, *where])

    return run


@pytest.fixture
async def used(redis, pool, agentpool):
    """Two jobs of two tenants, with their usage."""
    worker = Consumer(redis, pool, WorkerId("w"))
    await worker.register(slots=9, host="here")
    ids = []
    for tenant, cost in (("acme", 0.5), ("zeta", 2)):
        ids.append((await Producer(redis, pool).submit(JobRequest(kind="plan", tenant=tenant))).job_id)
        (lease,) = await worker.claim(1)
        await worker.use(lease, 1, [UsageReport(model="large", input_tokens=1500, output_tokens=20, cost=cost)])
    return ids


async def test_usage_is_a_table_with_a_total(agentpool, used):
    """The columns are those of `--by`, and the highest cost is first."""
    lines = [line.split() for line in (await agentpool("usage", "--by", "tenant", "--by", "model")).output.splitlines()]
    assert lines[:4] == [
        ["TENANT", "MODEL", "CALLS", "INPUT", "TOKENS", "OUTPUT", "TOKENS", "COST"],
        ["zeta", "large", "1", "1,500", "20", "2"],
        ["acme", "large", "1", "1,500", "20", "0.5"],
        ["total", "-", "2", "3,000", "40", "2.5"],
    ]
    assert "no usage" in (await agentpool("usage", "--tenant", "nobody")).output


async def test_usage_is_a_document_with_the_selected_rows(agentpool, used):
    """The same document in JSON and YAML; a wrong day is refused."""
    document = json.loads((await agentpool("usage", "--tenant", "acme", "-o", "json")).output)
    numbers = {"calls": 1, "input_tokens": 1500, "output_tokens": 20, "cost": 0.5}
    assert document["rows"] == [{"tenant": "acme", "kind": "plan", **numbers}]
    assert document["total"] == numbers
    assert yaml.safe_load((await agentpool("usage", "--tenant", "acme", "-o", "yaml")).output) == document
    assert (await agentpool("usage", "--day", "yesterday")).exit_code == 2
    assert (await agentpool("usage", "--day", "2020-01-01", "-o", "name")).output == ""


async def test_a_job_is_shown_with_its_usage(agentpool, used):
    """The short form, the description and the document have the usage."""
    text = "1 call, 1,500 input tokens, 20 output tokens, cost 0.5"
    assert f"usage: {text}" in (await agentpool("get", used[0])).output
    assert text in (await agentpool("describe", "job", used[0])).output
    assert json.loads((await agentpool("get", used[0], "-o", "json")).output)["usage"]["input_tokens"] == 1500
