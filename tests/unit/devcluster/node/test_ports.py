"""Ports of this host in place of a pod's own."""

from __future__ import annotations

import socket

import pytest

from agentpool_devcluster.node.ports import PortRange, private_ports, with_ports

AGENT = {
    "name": "agent",
    "env": [{"name": "PORT", "value": "9000"}, {"name": "OTHER_PORT", "value": "8080"}],
    "readinessProbe": {"tcpSocket": {"port": 9000}},
    "lifecycle": {"preStop": {"httpGet": {"path": "/drained", "port": 8080}}},
}
WORKER = {
    "name": "worker",
    "env": [{"name": "AGENTPOOL_HTTP_PORT", "value": "8080"}, {"name": "PORT", "value": "9000"}],
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
}


def pod(*containers, **spec):
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


def test_the_number_in_port_stands_for_a_port_of_the_host():
    """Variable, probe and hook of the number follow; every other number stays, and the pod itself is unchanged."""
    own = pod(AGENT, WORKER)
    assert private_ports(own, shared_address=False) == [9000]
    agent, worker = with_ports(own, {9000: 23417}, shared_address=False)["spec"]["containers"]
    assert agent["env"] == [{"name": "PORT", "value": "23417"}, {"name": "OTHER_PORT", "value": "8080"}]
    assert agent["readinessProbe"]["tcpSocket"]["port"] == 23417
    assert agent["lifecycle"] == AGENT["lifecycle"]
    assert worker["env"] == [WORKER["env"][0], {"name": "PORT", "value": "23417"}]
    assert own == pod(AGENT, WORKER)


def test_pods_of_one_address_differ_in_every_declared_port():
    """Where all pods share an address, the worker's own port differs too, for its probes and its neighbours' hooks."""
    own = pod(AGENT, WORKER)
    assert private_ports(own, shared_address=True) == [8080, 9000]
    agent, worker = with_ports(own, {9000: 23417, 8080: 23418}, shared_address=True)["spec"]["containers"]
    assert worker["env"][0] == {"name": "AGENTPOOL_HTTP_PORT", "value": "23418"}
    assert worker["ports"] == [{"name": "http", "containerPort": 23418}]
    assert agent["lifecycle"]["preStop"]["httpGet"]["port"] == 23418


@pytest.mark.parametrize(
    "container",
    [{"name": "a"}, {"name": "a", "env": None}, {"name": "a", "env": [{"name": "PORT", "value": "http"}]},
     {"name": "a", "env": [{"name": "PORT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
)  # fmt: skip
def test_only_a_literal_number_is_replaced(container):
    """A name or a reference stays."""
    assert private_ports(pod(container), shared_address=False) == []


def test_a_pod_in_the_network_of_its_host_keeps_its_ports():
    """Such a pod shares the host's ports on a cluster too."""
    assert private_ports(pod(AGENT, hostNetwork=True), shared_address=True) == []


def test_a_lent_port_is_free_and_lent_once():
    """A program can listen on the port, and a second node of this host gets a different port."""
    here, there = PortRange(), PortRange()
    try:
        ports = [lender.take() for lender in (here, there) for _ in range(20)]
        assert len(set(ports)) == 40
        with socket.create_server(("127.0.0.1", ports[0])):
            pass
    finally:
        here.close()
        there.close()
