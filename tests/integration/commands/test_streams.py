"""The commands as processes, with standard streams that are closed, full, cut off or of an unusual encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.queue import Producer

TEXT = "ключ \N{KEY} ✓"
AGENTPOOL = f"{sys.executable} -m agentpool_core"
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")


@pytest.fixture
async def job(redis: Redis, pool: PoolRef) -> str:
    """A job with a payload that only Unicode can express."""
    return (await Producer(redis, pool).submit(JobRequest(kind="greet", payload=TEXT))).job_id


@pytest.fixture
def shell(redis_url: str, pool: PoolRef):
    """Run a line of shell with `agentpool`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTPOOL_", "PYTHON"))}
    environment = plain | {"REDIS_URL": redis_url, "AGENTPOOL_POOL": str(pool), "KUBECONFIG": "/-"}

    def run(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        command = ["bash", "-c", line.replace("agentpool", AGENTPOOL)]
        done = subprocess.run(command, env=environment | more, capture_output=True, check=False)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert b"Exception ignored" not in done.stderr, done.stderr.decode()
        return done

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "koi8-r", "utf-8:strict", "utf-16"])
def test_any_encoding_shows_a_job(shell, job: str, encoding: str):
    """JSON stays equal, with escapes for missing characters of the encoding; a table and YAML show escapes."""
    done = shell(f"agentpool get {job} -o json", PYTHONIOENCODING=encoding)
    assert (
        json.loads(done.stdout.decode(encoding.partition(":")[0] if encoding != "ascii" else "utf-8"))["payload"]
        == TEXT
    )
    for command in (f"get {job}", f"get {job} -o yaml", "doctor", "crd", "queue --help"):
        assert shell(f"agentpool {command}", PYTHONIOENCODING=encoding).stdout, command


@pytest.mark.parametrize("command", ["submit greet", "queue", "crd", "--version", "--help", "completion bash"])
def test_a_full_disk_is_one_line(shell, command: str):
    """The line names the stream and the reason, and the exit code is that of a failure."""
    done = shell(f"agentpool {command} > /dev/full")
    assert (done.returncode, done.stderr) == (1, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize("command", ["queue", "events", "crd", "get", "doctor"])
def test_a_reader_may_stop_reading(shell, job: str, command: str):
    """As with `head`, standard error stays empty."""
    done = shell(f"agentpool {command} | head -n 1")
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["submit greet", "queue", "get"])
def test_a_stream_may_be_closed(shell, command: str, closed: str):
    """The command does the work without the stream."""
    assert shell(f"agentpool {command} {closed}").returncode == 0


def test_a_payload_from_a_closed_standard_input_is_refused(shell):
    """The error names the source, as for any input that is no JSON."""
    done = shell("agentpool submit greet - <&-")
    assert (done.returncode, done.stderr.startswith(b"error: standard input: '': not JSON")) == (2, True)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape"])
def test_bytes_that_are_no_text_are_refused_from_standard_input(shell, encoding: str):
    """The refusal is the same in any locale, although Python's default depends on the locale."""
    for line in (
        r"""printf '"\xff"' | agentpool submit greet -""",
        r"""printf '"\xff"\n' | agentpool submit greet --file -""",
    ):
        done = shell(line, PYTHONIOENCODING=encoding)
        assert (done.returncode, b"standard input" in done.stderr) == (2, True), done.stderr


def test_an_argument_is_utf8_in_any_locale(shell):
    """Invalid bytes are refused as from standard input; no half character reaches the queue in any locale."""
    done = shell(r"""agentpool submit greet $'"\xff"' -o name""")
    assert (done.returncode, b"PAYLOAD" in done.stderr, b"not UTF-8" in done.stderr) == (2, True, True)
    job = shell(f"agentpool submit greet '{json.dumps(TEXT, ensure_ascii=False)}' -o name", LC_ALL="C", PYTHONUTF8="0")
    kept = shell(f"agentpool get {job.stdout.decode().strip()} -o json")
    assert json.loads(kept.stdout)["payload"] == TEXT


@pytest.mark.parametrize(
    "variables", [{"COLUMNS": "1"}, {"COLUMNS": "x"}, {"TERM": ""}, {"NO_COLOR": "1"}, {"HOME": ""}]
)
def test_odd_variables_change_nothing(shell, job: str, variables: dict[str, str]):
    """A command prints the same table for any description of the terminal."""
    assert shell("agentpool get", **variables).stdout.startswith(b"JOB ")
    assert shell(f"agentpool get {job} | cat", **variables).returncode == 0
