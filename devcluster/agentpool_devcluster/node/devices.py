"""Devices of the node held by each pod: extended resources by index. Pure.

GPUs are simulated: the node counts devices and assigns them to containers, whether or not the host has GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentpool_devcluster.kube.objects import Uid, uid_of
from agentpool_devcluster.kube.quantity import Amounts, amounts_of
from agentpool_devcluster.node.errors import AdmissionError

NVIDIA_PREFIX = "nvidia.com/"
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"

Holding = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Device indices by container name and resource name."""


class DeviceTable:
    """The devices in use on a node."""

    def __init__(self) -> None:
        self._held: dict[Uid, Holding] = {}

    def allocate(self, pod: Mapping[str, Any], allocatable: Amounts) -> Holding:
        """Assign devices to the pod. Raises AdmissionError if too few are free."""
        used = self._used()
        holding: dict[str, dict[str, tuple[int, ...]]] = {}
        for container in pod["spec"].get("containers") or ():
            mine: dict[str, tuple[int, ...]] = {}
            for resource, count in _devices_of(container).items():
                taken = used.setdefault(resource, set())
                free = [index for index in range(int(allocatable.get(resource, 0))) if index not in taken]
                if len(free) < count:
                    message = f"Allocate failed due to requested number of devices unavailable for {resource}. "
                    counts = f"Requested: {count}, Available: {len(free)}"
                    raise AdmissionError("UnexpectedAdmissionError", f"{message}{counts}, which is unexpected")
                mine[resource] = tuple(free[:count])
                taken.update(mine[resource])
            holding[container["name"]] = mine
        self._held[uid_of(pod)] = holding
        return holding

    def release(self, uid: Uid) -> None:
        """Release the devices of an ended pod."""
        self._held.pop(uid, None)

    def _used(self) -> dict[str, set[int]]:
        used: dict[str, set[int]] = {}
        for holding in self._held.values():
            for mine in holding.values():
                for resource, indices in mine.items():
                    used.setdefault(resource, set()).update(indices)
        return used


def device_environment(holding: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the variables that name a container's GPUs."""
    indices = sorted(
        {index for resource, mine in holding.items() if resource.startswith(NVIDIA_PREFIX) for index in mine}
    )
    return {VISIBLE_DEVICES: ",".join(map(str, indices))} if indices else {}


def _devices_of(container: Mapping[str, Any]) -> dict[str, int]:
    """Return the extended resources that a container requests: those with a domain other than Kubernetes' own."""
    limits = amounts_of((container.get("resources") or {}).get("limits"))
    return {
        name: int(amount) for name, amount in limits.items() if "/" in name and not name.startswith("kubernetes.io/")
    }
