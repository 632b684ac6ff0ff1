"""Request bodies, by the number of bytes read."""

from __future__ import annotations

import pytest
from fastapi import Request

from agentpool_gateway.http.bodies import json_body
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.settings import GatewaySettings


async def test_a_body_without_end_is_read_to_twice_the_limit_and_no_further():
    """The chunk that passes the limit is the last; the sender's bytes count."""
    sent = 0

    async def receive():
        nonlocal sent
        assert sent <= 20_000, "it reads on"
        sent += 1_000
        return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(ProblemError) as refused:
        await json_body(Request(scope, receive), GatewaySettings(max_body_bytes=10_000))
    assert (refused.value.status, sent) == (413, 21_000)
