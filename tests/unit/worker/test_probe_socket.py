"""The socket of a worker's probes, from the start of the process."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import pytest

from agentpool_core import cli, start
from agentpool_worker.supervision.probe_socket import probe_socket
from tests.fixtures.redis import free_port

NO_FLAGS = {"http_host": None, "http_port": None}


@pytest.fixture
def environ(monkeypatch):
    """The environment of a pod."""
    environ = {"AGENTPOOL_HTTP_HOST": "127.0.0.1", "AGENTPOOL_HTTP_PORT": str(free_port())}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield environ
    if left := start.take_probe_socket():
        left.close()


def run_until_imports(monkeypatch, *arguments):
    """Start the console script up to its slow imports."""
    monkeypatch.setattr(sys, "argv", ["agentpool", *arguments])
    monkeypatch.setattr(start, "hold_signals", lambda: None)
    monkeypatch.setattr(cli, "root", SimpleNamespace(main=lambda: None), raising=False)
    monkeypatch.setitem(sys.modules, "agentpool_core.cli.root", cli.root)
    start.main()


def listens(environ):
    """Whether a connection to the pod's address is accepted."""
    try:
        socket.create_connection(("127.0.0.1", int(environ["AGENTPOOL_HTTP_PORT"])), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_pods_probes_find_a_listener_before_the_imports(monkeypatch, environ):
    """The worker goes on with the same socket."""
    run_until_imports(monkeypatch, "worker")
    assert listens(environ)
    with probe_socket(NO_FLAGS, environ) as opened:
        assert opened.getsockname()[1] == int(environ["AGENTPOOL_HTTP_PORT"])
    assert not listens(environ)


@pytest.mark.parametrize("arguments", [["worker", "--reload"], ["get"]])
def test_other_commands_open_no_socket(monkeypatch, environ, arguments):
    """The port belongs to the worker, which is a different process."""
    run_until_imports(monkeypatch, *arguments)
    assert not listens(environ)


@pytest.mark.parametrize(
    ("command", "host", "port"), [("operator", "health-host", "health-port"), ("gateway", "host", "port")]
)
def test_operator_and_gateway_listen_before_their_imports(monkeypatch, environ, command, host, port):
    """The flags of the chart name the address; a different port closes the early socket."""
    number = int(environ["AGENTPOOL_HTTP_PORT"])
    arguments = (command, "--log-level=info", f"--{host}=127.0.0.1", f"--{port}={number}")
    run_until_imports(monkeypatch, *arguments)
    assert listens(environ)
    with start.listener_at("127.0.0.1", number) as opened:
        assert opened.getsockname()[1] == number
    run_until_imports(monkeypatch, *arguments)
    with start.listener_at("127.0.0.1", 0) as opened:
        assert opened.getsockname()[1] != number
        assert not listens(environ)


def test_flags_override_the_environment(monkeypatch, environ):
    """The early socket is closed, and the named port opened."""
    run_until_imports(monkeypatch, "worker", "--http-port", "0")
    with probe_socket({"http_host": None, "http_port": 0}, environ) as opened:
        assert opened.getsockname()[1] != int(environ["AGENTPOOL_HTTP_PORT"])
        assert not listens(environ)


def test_an_impossible_port_is_left_to_the_worker(monkeypatch, environ):
    """The error of the worker names the setting."""
    monkeypatch.setenv("AGENTPOOL_HTTP_PORT", "none")
    run_until_imports(monkeypatch, "worker")
    assert probe_socket(NO_FLAGS, environ | {"AGENTPOOL_HTTP_PORT": "none"}) is None
