"""The operator's HTTP server."""

from __future__ import annotations

import aiohttp

from agentpool_core import runbooks
from agentpool_operator.health import Health
from agentpool_operator.metrics import Metrics


async def test_the_operator_serves_the_runbooks():
    """An alert's link works in each release, with or without a gateway."""
    health = Health(Metrics(), last_pass_at=lambda: 0.0, ready=lambda: True, refresh=lambda: None)
    port = await health.start("127.0.0.1", 0)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{runbooks.PATH}") as answer,
        ):
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert '<h2 id="agentpoolgpucapped">' in await answer.text()
    finally:
        await health.stop()
