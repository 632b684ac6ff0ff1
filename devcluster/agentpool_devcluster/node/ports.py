"""A port of this host for each port of a pod, because the programs of all pods share the host's network.

On a cluster each pod has a network of its own, so all replicas listen on the same port. Here a number that a variable
`PORT` of a container names, by the convention of Knative and Cloud Run, stands for a port of this host that only this
pod has: the programs of the pod get the variable with the host's number, and probes and hooks follow. A program that
ignores the variable is not found by its neighbours; a program of a different pod never answers for it. On hosts where
all pods share an address (macOS), declared ports and variables `…_PORT` with their numbers are replaced too.

`private_ports` names the numbers and `with_ports` replaces them (both pure); `PortRange` lends the host's ports.
"""

from __future__ import annotations

import copy
import random
import socket
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.node.errors import NodeSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentpool_devcluster.kube.objects import KubeObject

VARIABLE, SUFFIX = "PORT", "_PORT"
FIRST_PORT, LAST_PORT = 20000, 29999  # below the ports that systems give to outgoing connections
TRIES = 200
_HANDLERS = ("httpGet", "tcpSocket")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_HOOKS = ("postStart", "preStop")


class PortRange:
    """Ports of this host, lent to pods; a datagram socket on the same number keeps other nodes of the host away."""

    def __init__(self) -> None:
        self._claims: dict[int, socket.socket] = {}

    def take(self) -> int:
        """Return a port that no program listens on and no node has lent. Raises NodeSetupError."""
        for _ in range(TRIES):
            port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311 - the claim decides
            if (claim := _claim(port)) is not None:
                self._claims[port] = claim
                return port
        raise NodeSetupError(f"no free port from {FIRST_PORT} to {LAST_PORT} found in {TRIES} tries")

    def give_back(self, port: int) -> None:
        """Release the port of an ended pod."""
        if claim := self._claims.pop(port, None):
            claim.close()

    def close(self) -> None:
        """Release all ports."""
        for port in list(self._claims):
            self.give_back(port)


def private_ports(pod: Mapping[str, Any], *, shared_address: bool) -> list[int]:
    """Return the numbers in a pod that need a port of the host; none for a pod that asks for the host's network."""
    if pod["spec"].get("hostNetwork"):
        return []
    named = {number for each in _containers(pod) if (number := _number_of(_variables(each).get(VARIABLE)))}
    declared = {int(port["containerPort"]) for each in _containers(pod) for port in each.get("ports") or ()}
    return sorted(named | declared if shared_address else named)


def with_ports(pod: KubeObject, ports: Mapping[int, int], *, shared_address: bool) -> KubeObject:
    """Return the pod with the host's numbers in variables, declared ports, probes and hooks."""
    if not ports:
        return pod
    changed = copy.deepcopy(pod)
    for container in _containers(changed):
        for variable in container.get("env") or ():
            if variable["name"] == VARIABLE or (shared_address and variable["name"].endswith(SUFFIX)):
                number = _number_of(variable.get("value"))
                if number is not None and number in ports:
                    variable["value"] = str(ports[number])
        for place, field in _port_fields(container):
            if place.get(field) in ports:
                place[field] = ports[place[field]]
    return changed


def _port_fields(container: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the places of port numbers outside of the variables: an object and the field's name."""
    for port in container.get("ports") or ():
        yield port, "containerPort"
    lifecycle = container.get("lifecycle") or {}
    actions = [*(container.get(probe) for probe in _PROBES), *(lifecycle.get(hook) for hook in _HOOKS)]
    for action in actions:
        for handler in _HANDLERS:
            if action and action.get(handler):
                yield action[handler], "port"


def _containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]


def _variables(container: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container.get("env") or ()}


def _number_of(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _claim(port: int) -> socket.socket | None:
    """Return the claim of a free port; None if the port is taken."""
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("", port))
    except OSError:
        claim.close()
        return None
    return claim
