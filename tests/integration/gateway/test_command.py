"""`agentpool gateway` as a process: start, refusal and stop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings, connect

COMMAND = [sys.executable, "-m", "agentpool_core", "gateway"]
QUIET = ("--log-level", "warning")  # no reader empties the pipe meanwhile
ENVIRONMENT = {**os.environ, "KUBECONFIG": "/nowhere"}


def refused(*args: str) -> tuple[int, str]:
    """Return exit code and standard error of a gateway that does not start."""
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    return done.returncode, done.stderr


@contextlib.contextmanager
def running(*args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a gateway that logs the address; return the process and the address."""
    process = subprocess.Popen([*COMMAND, *args], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stderr is not None
        found = re.search(r"gateway at (http://\S+)", process.stderr.readline())
        assert found
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def stopped(process: subprocess.Popen[str]) -> str:
    """Stop a gateway in order; return all log lines after the address, including lines already read."""
    process.send_signal(signal.SIGINT)  # SIGTERM would leave the gateway serving for a while
    assert process.stderr is not None
    log = process.stderr.read()
    assert process.wait(20) == 0
    return log


def test_a_gateway_prints_the_address_serves_and_stops_in_order(redis_url: str):
    """Port 0 selects a free port; a signal ends the gateway with exit code 0."""
    with running("--redis", redis_url, "--no-auth", "--port", "0") as (process, url):
        with urllib.request.urlopen(f"{url}/readyz", timeout=20) as answer:
            assert answer.read() == b"ok\n"
        stopped(process)


@contextlib.contextmanager
def stream_of(url: str) -> Iterator[http.client.HTTPResponse]:
    """Return an open event stream with a registered listener."""
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET", "/v1/namespaces/draining/pools/drained/events")
        answer = connection.getresponse()
        assert answer.readline().startswith(b"id: ")
        yield answer


def test_a_stopping_gateway_drops_no_request(redis_url: str):
    """SIGTERM under load: not ready at once, every request answered, on old and new connections, until the end."""
    queue = "/v1/namespaces/draining/pools/drained/queue"
    statuses: list[int] = []
    asked = threading.Semaphore(0)
    stop = threading.Event()

    def load(url: str) -> None:
        """A client that keeps a connection for as long as the server allows."""
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        while not stop.is_set():
            connection.request("GET", queue)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            asked.release()
        connection.close()

    def more(count: int) -> None:
        for _ in range(count):
            assert asked.acquire(timeout=20)

    asyncio.run(set_up(redis_url, PoolRef("draining", "drained")))
    with (
        running("--redis", redis_url, "--no-auth", "--port", "0", "--drain", "600", *QUIET) as (process, url),
        concurrent.futures.ThreadPoolExecutor(max_workers=8) as clients,
    ):
        loads = [clients.submit(load, url) for _ in range(8)]
        try:
            with stream_of(url) as stream:
                more(100)
                process.send_signal(signal.SIGTERM)
                not_ready = wait_for_refusal(f"{url}/readyz")
                urllib.request.urlopen(f"{url}/readyz?draining=ready", timeout=20).close()  # as the kubelet does
                more(400)
                stop.set()
                for each in loads:
                    each.result(timeout=20)
                process.send_signal(signal.SIGTERM)  # the endpoint list has changed: the gateway may stop
                assert b"event:" not in stream.read()  # ends in order, and without a reset
        finally:
            stop.set()
        assert process.wait(20) == 0
    asyncio.run(purge(redis_url, PoolRef("draining", "drained")))
    assert not_ready == (503, "close")
    assert set(statuses) == {200}


def wait_for_refusal(url: str) -> tuple[int, str | None]:
    """Return status and `Connection` of the first answer without success."""
    while True:
        try:
            urllib.request.urlopen(url, timeout=20).close()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers["Connection"]


async def set_up(redis_url: str, pool: PoolRef) -> None:
    """Create a pool."""
    redis = connect(redis_url)
    await Inspector(redis).configure(pool, PoolSettings())
    await redis.aclose()


async def purge(redis_url: str, pool: PoolRef) -> None:
    """Remove a pool."""
    redis = connect(redis_url)
    await Inspector(redis).purge(pool)
    await redis.aclose()


def test_metrics_have_a_port_of_their_own(redis_url: str):
    """The port opens on request only; for a port in use the error is a line with the option's name."""
    with running("--redis", redis_url, "--no-auth", "--port", "0", "--metrics-port", "0") as (process, url):
        assert process.stderr is not None
        beside = re.search(r"metrics at (http://\S+)", process.stderr.readline())
        assert beside
        with urllib.request.urlopen(beside[1], timeout=20) as answer:
            assert b"agentpool_gateway_streams" in answer.read()
        foreign = urllib.request.Request(beside[1], headers={"Host": "evil.example"})  # by DNS rebinding
        with pytest.raises(urllib.error.HTTPError) as rebound:
            urllib.request.urlopen(foreign, timeout=20)
        rebound.value.close()
        assert rebound.value.code == 403
        for missing in (f"{url}/metrics", f"{beside[1].removesuffix('/metrics')}/v1/pools"):
            with pytest.raises(urllib.error.HTTPError) as refused_:
                urllib.request.urlopen(missing, timeout=20)
            refused_.value.close()
            assert refused_.value.code == 404
        code, message = refused(
            "--redis", redis_url, "--no-auth", "--port", "0", "--metrics-port", beside[1].split(":")[2][:-8]
        )
        assert (code, message.count("\n")) == (2, 1)
        assert "--metrics-port" in message
        stopped(process)


def test_an_absent_redis_is_reported_at_once_and_by_readyz():
    """The gateway serves without Redis, because Redis may start later; a single log line has the address."""
    with running("--redis", "redis://lead:open-sesame@127.0.0.1:1/0", "--no-auth", "--port", "0") as (process, url):
        with pytest.raises(urllib.error.HTTPError) as refused_:
            urllib.request.urlopen(f"{url}/readyz", timeout=20)
        assert (refused_.value.code, refused_.value.read()) == (503, b"Redis cannot be used\n")
        refused_.value.close()
        log = stopped(process)
    (message,) = (line for line in log.splitlines() if " WARNING " in line)
    assert "redis://lead:***@127.0.0.1:1/0: Redis did not answer" in message
    assert "open-sesame" not in log


def test_the_log_has_callers_and_paths_and_never_a_token_or_a_query(redis_url: str, tmp_path: Path):
    """No token, good or wrong, appears at any log level, in the lines of any component."""
    good, wrong = "a-good-token-of-32-characters-01", "a-wrong-token-of-32-characters-1"
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens: [{{name: lead, token: {good}}}]")
    with running("--redis", redis_url, "--tokens", str(tokens), "--port", "0", "--log-level", "debug") as (
        process,
        url,
    ):
        for token, status in ((good, 404), (wrong, 401)):
            asked = urllib.request.Request(
                f"{url}/v1/namespaces/test/pools/nobody/queue?key=in-the-query",
                headers={"Authorization": f"Bearer {token}"},
            )
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(asked, timeout=20)
            assert answer.value.code == status
            answer.value.close()
        log = stopped(process)
    assert "'/v1/namespaces/test/pools/nobody/queue' 404" in log
    assert "caller 'lead'" in log
    assert not [secret for secret in (good, wrong, "in-the-query") if secret in log], log


def test_a_gateway_serves_no_caller_by_default(redis_url: str):
    """Without tokens or reviews the gateway refuses to start, and the error names the options."""
    code, message = refused("--redis", redis_url, "--port", "0")
    assert (code, message.count("\n")) == (2, 1)
    assert "pass --tokens FILE" in message


def test_an_open_gateway_serves_on_loopback_only(redis_url: str):
    """An open gateway on a reachable address is refused."""
    code, message = refused("--redis", redis_url, "--no-auth", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "listen on 127.0.0.1" in message


def test_a_port_in_use_is_one_line(redis_url: str):
    """The line names the port and the remedy, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, message = refused("--redis", redis_url, "--no-auth", "--port", str(taken.getsockname()[1]))
    assert (code, message.count("\n")) == (2, 1)
    assert "choose a different address or port" in message


@pytest.mark.parametrize("args", [("--tokens", "/nowhere/tokens.yaml"), ("--auth", "kubernetes")])
def test_a_missing_resource_is_a_single_line(redis_url: str, args: tuple[str, ...], tmp_path: Path):
    """A missing tokens file and a missing cluster are each a single line."""
    code, message = refused("--redis", redis_url, "--port", "0", *args)
    assert code == 2
    assert "Traceback" not in message
    assert message.startswith("error: ")
