"""The protocol's official JavaScript client, a real gateway and a real worker: every operation, through a restart."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.fixtures.gateways import ADMIN
from tests.fixtures.workers import until

ROOT = Path(__file__).parents[3]
SDK = ROOT / "build/npm/a2a/node_modules/@a2a-js/sdk"
SCRIPT = ROOT / "tests/fixtures/javascript/a2a_client.mjs"
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and SDK.exists()), reason="node or the JavaScript SDK of A2A is missing: make a2a-js"
)


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_javascript_client_does_every_operation(
    binding: str, gateway_factory, delivering, receiver, workers, pool, tmp_path
):
    """Discover, send, stream, ask and answer, list, cancel, get a push, and resubscribe at the next gateway."""
    workers.start(app="a2a_app:app")
    gateways = [await gateway_factory(**delivering) for _ in range(2)]
    first, second = [f"{each.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}/a2a" for each in gateways]
    environ = {"SDK": str(SDK), "BINDING": binding, "TOKEN": ADMIN, "FIRST": first, "SECOND": second}
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPT)),
        env={**os.environ, **environ, "PUSH": receiver.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    seen: dict[str, object] = {}
    lines = []
    while line := await process.stdout.readline():
        lines.append(line.decode())
        seen |= json.loads(line) if line.startswith(b"{") else {}
        if line.startswith(b'{"dripping"'):
            gateways[0].app.state.gateway.draining.close()
        if line.startswith(b'{"resubscribed"'):
            (tmp_path / "go").touch()
    assert await process.wait() == 0, "".join(lines)
    assert (seen["discovered"], seen["streaming"], seen["push"]) == (pool.name, True, True)
    assert (seen["sent"], seen["text"], seen["contextId"]) == ("TASK_STATE_COMPLETED", "you said hello", True)
    assert (seen["streamed"], seen["chunks"]) == ("TASK_STATE_COMPLETED", ["three"])
    assert (seen["asked"], seen["answered"]) == ("TASK_STATE_INPUT_REQUIRED", "TASK_STATE_COMPLETED")
    assert (seen["listed"], seen["total"], seen["cancelled"]) == ([True], 1, "TASK_STATE_CANCELED")
    assert (seen["dripping"], seen["resubscribed"]) == (["before "], "before ")
    assert (seen["rest"], seen["ended"]) == (["after", ""], "TASK_STATE_COMPLETED")
    await until(lambda: len(receiver.requests) == 2, "question and end have arrived")
    assert {json.loads(body)["task"]["id"] for _, body in receiver.requests} == {seen["id"]}
