"""`agentpool gateway` as a process: how it starts, refuses and stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "agentpool", "gateway"]
ENVIRONMENT = {**os.environ, "KUBECONFIG": "/nowhere"}


def refused(*args: str) -> tuple[int, str]:
    """Exit code and standard error of a gateway that does not start."""
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    return done.returncode, done.stderr


def test_it_tells_its_address_serves_and_stops_in_order(redis_url: str):
    """Port 0 takes any; SIGTERM ends it with exit code 0."""
    process = subprocess.Popen(
        [*COMMAND, "--redis", redis_url, "--no-auth", "--port", "0"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert process.stderr is not None
        found = re.search(r"gateway at (http://\S+)", process.stderr.readline())
        assert found
        with urllib.request.urlopen(f"{found[1]}/readyz", timeout=20) as answer:
            assert answer.read() == b"ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_it_serves_nobody_by_default(redis_url: str):
    """Without tokens or reviews it refuses to start, and says what to pass."""
    code, told = refused("--redis", redis_url, "--port", "0")
    assert (code, told.count("\n")) == (2, 1)
    assert "pass --tokens FILE" in told


def test_it_serves_everybody_on_loopback_only(redis_url: str):
    """An open gateway that others can reach is refused."""
    code, told = refused("--redis", redis_url, "--no-auth", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "listen on 127.0.0.1" in told


def test_a_port_in_use_is_one_line(redis_url: str):
    """Named with its remedy; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told = refused("--redis", redis_url, "--no-auth", "--port", str(taken.getsockname()[1]))
    assert (code, told.count("\n")) == (2, 1)
    assert "choose another address or port" in told


@pytest.mark.parametrize("args", [("--tokens", "/nowhere/tokens.yaml"), ("--auth", "kubernetes")])
def test_what_cannot_be_opened_is_one_line(redis_url: str, args: tuple[str, ...], tmp_path: Path):
    """A missing tokens file; no cluster to ask."""
    code, told = refused("--redis", redis_url, "--port", "0", *args)
    assert code == 2
    assert "Traceback" not in told
    assert told.startswith("error: ")
