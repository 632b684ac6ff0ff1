"""The end of a container between two readiness probes of the kubelet."""

from __future__ import annotations

import contextlib
import http.client
import sys
import threading
import time

import pytest

from agentpool_core.process.sockets import listening_socket
from agentpool_worker.supervision import supervisor
from agentpool_worker.supervision.supervisor import _Supervisor

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are supervised on Linux only")


@pytest.fixture
def listening():
    """The socket of the probes."""
    with contextlib.closing(listening_socket("127.0.0.1", 0)) as opened:
        yield opened


@pytest.fixture
def ending(listening, monkeypatch):
    """A draining supervisor without its worker; the supervisor waits for a probe without limit."""
    monkeypatch.setattr(supervisor, "_NEXT_PROBE_SECONDS", 600.0)
    ending = _Supervisor(lambda _line: None, listening)
    ending._asked_to_leave = True
    return ending


def ask(listening, path):
    """Begin a request."""
    client = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=20)
    client.request("GET", path)
    return client


def status(client):
    """The status of the answer."""
    with contextlib.closing(client):
        return client.getresponse().status


def test_the_end_comes_just_after_a_readiness_probe(ending, listening):
    """Different requests are answered and end nothing."""
    ending._lifeline.probed_at = time.monotonic() - 1.5
    thread = threading.Thread(target=ending._await_probe)
    thread.start()
    assert status(ask(listening, "/healthz")) == 200
    assert status(ask(listening, "/readyz")) == 503
    assert thread.is_alive()
    assert status(ask(listening, "/readyz?draining=ready")) == 200
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("probed", ["never", "just now", "long ago"])
def test_an_unneeded_wait_for_a_probe_ends(ending, listening, probed):
    """Without a kubelet, or right after a probe, a worker ends at once; a pending caller gets an answer."""
    ago = {"never": time.monotonic(), "just now": 0.0, "long ago": 700.0}[probed]
    ending._lifeline.probed_at = time.monotonic() - ago
    waiting = ask(listening, "/drained")
    ending._await_probe()
    assert status(waiting) == 200


def test_a_worker_that_ends_without_a_drain_waits_for_no_probe(ending, listening):
    """The container is restarted, and probes may fail until then."""
    ending._asked_to_leave = False
    ending._lifeline.probed_at = time.monotonic() - 1.5
    ending._await_probe()
