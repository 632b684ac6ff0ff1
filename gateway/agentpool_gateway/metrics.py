"""Prometheus metrics of the gateway: requests, durations, submitted jobs, open streams.

Routes are labelled by their template and callers not at all, so made-up names create no series. The metrics name the
pools of all tenants, so they have a separate port (`--metrics-port`), never the port of the API.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentpool_core.jobs import PoolRef, Receipt

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Metrics of a gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "agentpool_gateway_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "agentpool_gateway_request_seconds",
            "Time until the start of an answer, in seconds; long-polls wait on purpose.",
            ["method", "route"],
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.jobs = Counter(
            "agentpool_gateway_jobs", "Jobs submitted.", ["namespace", "pool", "duplicate"], registry=self.registry
        )
        self.webhooks = Counter(
            "agentpool_gateway_webhooks",
            "Tries to deliver a webhook, by outcome: delivered, retrying, failed (given up).",
            ["namespace", "pool", "outcome"],
            registry=self.registry,
        )
        self.streams = Gauge("agentpool_gateway_streams", "Open event streams.", registry=self.registry)

    def count_submitted(self, pool: PoolRef, receipts: Iterable[Receipt]) -> None:
        """Count the jobs of a submit."""
        for duplicate, count in collections.Counter(receipt.duplicate for receipt in receipts).items():
            self.jobs.labels(pool.namespace, pool.name, str(duplicate).lower()).inc(count)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)

    def app(self) -> Starlette:
        """Return the app of the metrics port."""

        async def metrics(_request: Request) -> Response:
            return Response(self.text(), media_type=EXPOSITION)

        return Starlette(routes=[Route("/metrics", metrics)])
