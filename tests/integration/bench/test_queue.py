"""The queue's bench in small: the figures are correct."""

from __future__ import annotations

from bench.queue import LEAST, ratios_alone
from bench.queue.capacity import claims, memory
from bench.queue.profile import profiled


async def test_a_queued_job_takes_more_than_a_bare_entry(redis_server_factory):
    """A job has a record beside the entry; both figures are positive, whatever memory the server frees meanwhile."""
    found = await memory(redis_server_factory().tcp_url, 2_000)
    assert 200 < found["bare stream entry bytes"] < found["queued job bytes"]


async def test_claims_are_measured_at_every_depth(redis_server_factory):
    """The depths go from a thousand jobs up, in powers of ten."""
    found = await claims(redis_server_factory().tcp_url, 10_000)
    assert set(found) == {"claim of 1,000 queued us", "claim of 10,000 queued us"}
    assert all(cost > 0 for cost in found.values())


def test_the_worst_round_of_a_recovery_counts():
    """A median would hide the kill that lost a job or took too long."""
    rounds = {
        "agentpool: recovery after kill -9 s": [12.0, 28.0, 13.0],
        "agentpool: ended exactly once jobs": [10.0, 9.0, 10.0],
        "agentpool: bare stream entry bytes": [200.0],
        "agentpool: queued job bytes": [800.0],
        "agentpool: claim of 1,000 queued us": [10.0],
        "agentpool: claim of 10,000 queued us": [20.0],
    }
    ratios = ratios_alone(rounds)
    assert ratios == {
        "recovery: lease + run + 2 s / measured": 0.5,
        "recovery: ended exactly once / jobs": 0.9,
        "memory: bare stream entry / queued job": 0.25,
        "claim cost: cheapest depth / dearest": 0.5,
    }
    assert {name for name in ratios if not name.startswith("memory")} <= set(LEAST)


async def test_a_profile_divides_the_time_between_packages(redis_server_factory):
    """Each measure has a table with code of AgentPool and of the server; a submit uses no code of redis-py."""
    tables = await profiled(redis_server_factory().tcp_url, 200)
    assert [table.split(":")[0] for table in tables] == ["one by one submit", "bulk submit", "drain"]
    for whose in ("client and queue", "server: Lua"):
        assert f"| {whose} |" in tables[0]
    assert "| worker |" in tables[2]
