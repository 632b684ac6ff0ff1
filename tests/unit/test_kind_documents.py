"""Published schemas as others read them: a text that is no schema hides no other kind, and ends no worker."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from agentpool_core.errors import QueueAccessError, QueueMemoryError
from agentpool_core.jobs import PoolRef
from agentpool_core.kind_documents import kinds_document
from agentpool_core.queue.settings import JobSchema, PoolSettings, Route
from agentpool_gateway.mcp.tools import OUTCOME, tools_of
from agentpool_worker.publication import publish_schemas

GOOD = {"type": "object", "properties": {"name": {"type": "string"}}}
POOL = PoolRef("ns", "p")


@pytest.fixture(params=["", "{", "7", '"x"', "[]", '{"default":NaN}', '{"maximum":1e999}', '{"a":' + "[" * 9_000])
def broken(request) -> PoolSettings:
    """The settings of a pool with a kind whose schemas a different version or program has written."""
    text = json.dumps(GOOD)
    return PoolSettings(
        routes=(Route(name="default", kinds=("broken", "good")),),
        schemas=(
            JobSchema(kinds=("broken",), input=request.param, output=request.param),
            JobSchema(kinds=("good",), input=text, output=text),
        ),
    )


def test_a_broken_schema_hides_no_kind(broken: PoolSettings):
    """The kinds of HTTP and of agent cards have the other schemas, and the tools of MCP the other kind."""
    first, second = json.loads(json.dumps(kinds_document(broken, POOL), allow_nan=False))["kinds"]
    assert (first["input"], first["output"]) == (None, None)
    assert (second["input"], second["output"]) == (GOOD, GOOD)
    tools = tools_of(broken)
    assert "run_broken" not in tools, "its submits would be refused"
    assert tools["run_good"].arguments == GOOD
    assert tools["run_good"].answer != OUTCOME


async def test_a_broken_schema_ends_no_worker(broken: PoolSettings, caplog: pytest.LogCaptureFixture):
    """A worker with models compares them with the published ones, and names the kind that differs."""
    handlers = SimpleNamespace(
        schemas=lambda: (JobSchema(kinds=("broken",), input=json.dumps(GOOD)), broken.schemas[1]),
        kinds=("broken", "good"),
    )
    found = await publish_schemas(SimpleNamespace(), POOL, broken, handlers, by_hand=False)
    assert found == broken
    assert "the models of broken, so" in caplog.text


@pytest.mark.parametrize("refusal", [QueueMemoryError("full"), QueueAccessError("NOPERM")])
async def test_a_redis_that_refuses_schemas_ends_no_worker(monkeypatch, caplog: pytest.LogCaptureFixture, refusal):
    """A worker without an operator drains a full queue all the same, with the settings as they are."""

    async def configure(*_):
        raise refusal

    monkeypatch.setattr("agentpool_worker.publication.Inspector.configure", configure)
    handlers = SimpleNamespace(schemas=lambda: (JobSchema(kinds=("good",), input=json.dumps(GOOD)),), kinds=("good",))
    assert await publish_schemas(SimpleNamespace(), POOL, PoolSettings(), handlers, by_hand=True) == PoolSettings()
    assert "are not published" in caplog.text
