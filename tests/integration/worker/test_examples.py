"""The example agents, run by the commands of the documentation."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.spec.pool import AgentPoolSpec
from tests.fixtures.workers import until

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def finished(redis, pool):
    """Submit a job, wait for its end, and return its record."""

    async def finished(kind, payload):
        receipt = await Producer(redis, pool).submit(JobRequest(kind=kind, payload=payload))
        return await ended(receipt.job_id)

    async def ended(job_id):
        async def terminal() -> bool:
            return (await Inspector(redis).job(pool, job_id)).state.terminal

        await until(terminal, "the job has ended")
        return await Inspector(redis).job(pool, job_id)

    finished.ended = ended
    return finished


@pytest.fixture
async def quick_retries(redis, pool):
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=20, retry_max_ms=20))


@pytest.mark.usefixtures("quick_retries")
async def test_python_agent_delegates_and_joins(workers, finished, tmp_path):
    """The research agent plans, delegates the counts to children, and joins their results."""
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.md").write_text("queue queue lease worker " * (1 + (name == "a")))
    workers.start(app="research_agent:app", PYTHONPATH=str(EXAMPLES / "python-agent"))
    record = await finished("research", {"directory": str(tmp_path / "texts")})
    assert record.result["files"] == 2
    joined = await finished.ended(record.result["answer_in"])
    assert joined.result[0] == ["queue", 6]
    assert (await finished("count-words", {"path": "/nowhere"})).state is JobState.FAILED
    assert (await finished("call-model", {"prompt": "hi", "busy": True})).attempt == 1


@pytest.mark.usefixtures("quick_retries")
async def test_command_agent_counts(workers, finished):
    """The shell agent reads its payload, prints its result, and reports errors by exit code."""
    script = EXAMPLES / "command-agent" / "agent.sh"
    workers.start("--handler-command", str(script), app=None)
    record = await finished("count", str(script))
    assert record.state is JobState.SUCCEEDED, record.error
    assert record.result["bytes"] == script.stat().st_size
    assert (await finished("busy-once", None)).result == {"attempt": 1, "it was": "busy"}
    unknown = await finished("dance", None)
    assert (unknown.state, unknown.attempt) == (JobState.FAILED, 1)
    assert "no such job: dance" in unknown.error


@pytest.mark.skipif(shutil.which("node") is None, reason="the example is a Node program, and node is not installed")
@pytest.mark.usefixtures("quick_retries")
async def test_http_agent_streams_its_progress(workers, finished, tmp_path):
    """The Node agent serves jobs over HTTP, and may start after the worker."""
    node, log = start_node(EXAMPLES / "http-agent" / "agent.mjs", tmp_path)
    try:
        await until(lambda: listening_port(log), "the agent listens")
        port = listening_port(log)
        workers.start("--handler-http", f"http://127.0.0.1:{port}/", app=None)
        record = await finished("summarise", {"text": "Short. A rather longer sentence. Mid size."})
        assert record.result == {"sentences": 3, "longest": "A rather longer sentence.", "attempt": 1}
        assert record.progress == {"read": 3, "of": 3}
        assert (await finished("dance", {})).state is JobState.FAILED
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()


def start_node(program: Path, directory: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the process on a port of its own choice; return the process and the log."""
    path = directory / "node.log"
    with path.open("wb") as log:
        return subprocess.Popen(["node", str(program)], env={"PORT": "0"}, stdout=log, stderr=log), path


def listening_port(log: Path) -> int | None:
    found = re.search(r"listening on (\d+)", log.read_text())
    return int(found.group(1)) if found else None


@pytest.mark.parametrize("name", ["python-agent", "http-agent", "command-agent"])
def test_example_pools_are_valid(name: str):
    """The operator would accept the AgentPool of each example."""
    document = yaml.safe_load((EXAMPLES / name / "agentpool.yaml").read_text())
    spec = AgentPoolSpec.model_validate(document["spec"])
    assert name.removesuffix("-agent") in spec.handler.model_dump(exclude_none=True)
