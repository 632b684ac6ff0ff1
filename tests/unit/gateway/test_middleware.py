"""Measures of a request stay bounded, for any request without a token."""

from __future__ import annotations

import pytest

from agentpool_gateway.http.draining import Draining
from agentpool_gateway.http.middleware import RequestMiddleware
from agentpool_gateway.metrics import Metrics


async def answer(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 405, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def unheard(_message):
    """An answer without a receiver."""


@pytest.fixture
def metrics():
    return Metrics()


async def test_unknown_methods_share_a_series(metrics):
    """HTTP accepts any word as a method; a series for each word would fill the memory of gateway and Prometheus."""
    wrapping = RequestMiddleware(answer, metrics=metrics, draining=Draining())
    for method in ("GET", "FOO1", "FOO2", "FOO3"):
        await wrapping({"type": "http", "method": method, "path": "/", "headers": []}, None, unheard)
    counted = [
        (sample.labels["method"], sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "agentpool_gateway_requests_total"
    ]
    assert sorted(counted) == [("GET", 1.0), ("other", 3.0)]
