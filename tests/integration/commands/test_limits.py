"""`agentpool limits`, and the commands that name a limit."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.jobs import WorkerId
from agentpool_core.queue import Consumer, Inspector, Limit, LimitBy, PoolSettings, Rate, RateUnit

PER_CUSTOMER = Limit(name="per-customer", by=LimitBy.KEY, max_running=1)
STARTS = Limit(name="starts", by=LimitBy.TENANT, rate=Rate(count=60, period_ms=60_000))
TOKENS = Limit(name="tpm", by=LimitBy.TENANT, rate=Rate(count=60, period_ms=60_000_000, burst=60, unit=RateUnit.TOKENS))


@pytest.fixture
async def agentpool(redis, pool, redis_url):
    """Run a command on a pool with limits, in a thread, because the command starts an event loop."""
    await Inspector(redis).configure(pool, PoolSettings(limits=(PER_CUSTOMER, TOKENS, STARTS)))

    async def run(*args: str) -> Result:
        where = ("--pool", str(pool), "--redis", redis_url)
        return await asyncio.to_thread(CliRunner().invoke, root, [*args, *where])

    return run


@pytest.fixture
def held(agentpool, redis, pool):
    """Submit two equal jobs, of which a worker gets the first; return what `get` shows of the second."""

    async def hold(*options: str) -> tuple[str, dict[str, object]]:
        for _ in range(2):
            submitted = await agentpool("submit", "k", *options, "-o", "name")
        worker = Consumer(redis, pool, WorkerId("w"))
        await worker.register(slots=9, host="here")
        assert len(await worker.claim(9)) == 1
        second = submitted.output.strip()
        document = json.loads((await agentpool("get", second, "-o", "json")).output)
        return (await agentpool("get", second)).output, document

    return hold


async def test_a_held_job_and_its_limit_are_shown(agentpool, held):
    """Submit names key and tenant; get names the limit; queue counts the jobs that wait for the limit."""
    shown, document = await held("--limit-key", "acme", "--tenant", "research")
    assert "the job waits for the limit 'per-customer' of 1 at once for the key 'acme' (1 job waits" in shown
    assert (document["limit_key"], document["tenant"], document["held_by"]) == ("acme", "research", "per-customer")
    queue = (await agentpool("queue")).output
    assert "1 held by limits" in queue
    assert [line.split() for line in queue.splitlines() if line.startswith("per-customer")] == [
        ["per-customer", "1", "at", "once", "-", "key", "-", "1"]
    ]


async def test_a_job_declares_its_tokens_and_waits_for_them(agentpool, held):
    """Get says for how long the job waits; a number below 0 is refused."""
    shown, document = await held("--tenant", "acme", "--tokens", "40")
    assert "the limit 'tpm' of 60 tokens in 60000 s for the tenant 'acme', which has room again in " in shown
    assert (document["tokens"], document["held_by"]) == (40, "tpm")
    assert document["held_until_ms"] > document["submitted_at_ms"]
    assert (await agentpool("submit", "k", "--tokens", "-1")).exit_code == 2


async def test_a_rate_shows_its_burst_and_the_tokens_that_it_has_left(agentpool, redis, pool):
    """The level falls by the tokens of each started job; a rate by tenant has none, because each has its own."""
    whole = replace(TOKENS, name="whole", by=None)
    await Inspector(redis).configure(pool, PoolSettings(limits=(whole, TOKENS)))
    await agentpool("submit", "k", "--tokens", "40")
    worker = Consumer(redis, pool, WorkerId("w"))
    await worker.register(slots=9, host="here")
    assert len(await worker.claim(9)) == 1
    listed = (await agentpool("limits", "list")).output.splitlines()
    assert listed[0].split() == ["LIMIT", "BOUND", "BURST", "FOR", "EACH", "FREE", "NOW", "WAITING"]
    assert [line.split()[-4:] for line in listed[1:3]] == [["60", "-", "20", "0"], ["60", "tenant", "-", "0"]]
    first, second = json.loads((await agentpool("limits", "list", "-o", "json")).output)["limits"]
    assert (first["burst"], round(first["level"]), second["burst"], second["level"]) == (60, 20, 60, None)


async def test_bounds_of_single_keys_are_set_listed_and_reset(agentpool):
    """Each command reports the change, and the list shows the bounds that differ from the spec."""
    done = await agentpool("limits", "set", "per-customer", "--key", "acme", "--max-running", "7")
    assert done.output == "limit per-customer of 'acme' is set\n", done.exception
    done = await agentpool("limits", "set", "starts", "--tenant", "research", "--rate", "120/30s", "--burst", "3")
    assert done.output == "limit starts of 'research' is set\n", done.exception
    document = json.loads((await agentpool("limits", "list", "-o", "json")).output)
    assert document["overrides"] == [
        {"limit": "per-customer", "subject": "acme", "bound": "7 at once", "burst": None},
        {"limit": "starts", "subject": "research", "bound": "120 in 30 s", "burst": 3},
    ]
    done = await agentpool("limits", "set", "tpm", "--tenant", "research", "--tokens", "90000/60s")
    assert done.output == "limit tpm of 'research' is set\n", done.exception
    assert "90000 tokens in 60 s" in (await agentpool("limits", "list")).output
    assert (await agentpool("limits", "reset", "starts", "--tenant", "research")).output.endswith("is reset\n")
    again = await agentpool("limits", "reset", "starts", "--tenant", "research")
    assert again.output.endswith("had no bound of its own\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("per-customer", "--key", "a", "--rate", "1/1s"), "has no limit 'per-customer' by key or tenant with this"),
        (
            ("nosuch", "--key", "a", "--max-running", "1"),
            "per-customer key max_running, tpm tenant tokens, starts tenant rate",
        ),
        (("per-customer", "--max-running", "1"), "pass exactly one of --key and --tenant"),
        (("per-customer", "--key", "a"), "pass exactly one of --max-running, --rate, --tokens and --budget"),
        (("starts", "--tenant", "a", "--rate", "0/1s"), "'0/1s' is no rate; use COUNT/SECONDSs"),
    ],
)
async def test_an_impossible_bound_is_refused(agentpool, args, says):
    """The message names the limit, and the existing limits."""
    result = await agentpool("limits", "set", *args)
    assert result.exit_code != 0
    assert says in result.output + str(result.exception)
