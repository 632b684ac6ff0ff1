"""Usage of models over HTTP."""

from __future__ import annotations

from agentpool_core.queue.usage import UsageReport


async def test_usage_is_read_by_columns(http, consumer):
    """Rows of the asked columns, a total, and the usage of each job; an unknown column is refused."""
    await http.post("/jobs", json={"kind": "greet", "tenant": "acme"})
    (lease,) = await consumer.claim(1)
    await consumer.use(lease, 1, [UsageReport(model="large", input_tokens=5, output_tokens=2, cost=0.1)] * 3)
    numbers = {"calls": 3, "input_tokens": 15, "output_tokens": 6, "cost": 0.3}
    found = (await http.get("/usage")).json()
    assert found["rows"] == [{"tenant": "acme", "kind": "greet", **numbers}]
    assert found["total"] == numbers
    by_day = (await http.get("/usage", params={"by": ["day", "model"], "days": 2})).json()
    assert by_day["rows"] == [{"day": found["last_day"], "model": "large", **numbers}]
    assert (await http.get("/usage", params={"tenant": "none"})).json()["rows"] == []
    assert (await http.get(f"/jobs/{lease.job_id}")).json()["usage"] == numbers
    refused = await http.get("/usage", params={"by": "colour"})
    assert (refused.status_code, "by" in refused.json()["detail"]) == (422, True)
