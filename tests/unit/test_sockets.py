"""Listening on all addresses of a pod, with IPv4, IPv6 or both."""

from __future__ import annotations

import contextlib
import socket

import pytest

from agentpool_core.process.sockets import EVERYWHERE, authority, listening_socket

LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def reachable(port: int) -> set[str]:
    """The loopback addresses at which something listens."""
    found = set()
    for family, address in LOOPBACKS.items():
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.connect((address, port))
            found.add(address)
    return found


def test_everywhere_is_both_families():
    """A pod has an IPv4 address, an IPv6 address or both; the kubelet probes its own address family."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this kernel has no IPv6")
    with listening_socket(EVERYWHERE, 0) as opened:
        assert reachable(opened.getsockname()[1]) == {"127.0.0.1", "::1"}


def test_everywhere_is_ipv4_where_the_kernel_has_no_ipv6(monkeypatch: pytest.MonkeyPatch):
    """The default listens there too, in place of a failure at start."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listening_socket(EVERYWHERE, 0) as opened:
        assert opened.family is socket.AF_INET
        assert reachable(opened.getsockname()[1]) == {"127.0.0.1"}


@pytest.mark.parametrize("address", LOOPBACKS.values())
def test_an_address_is_that_address_alone(address: str):
    """A gateway without tokens listens on a loopback address, and must not be reachable at a different address."""
    with listening_socket(address, 0) as opened:
        assert reachable(opened.getsockname()[1]) == {address}


def test_an_ipv6_address_is_in_brackets():
    """In a log line, an error and a URL."""
    assert [authority(host, 8080) for host in ("::", "127.0.0.1", "h")] == ["[::]:8080", "127.0.0.1:8080", "h:8080"]
