"""A node's settings: resources and time limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartBackoff:
    """Delays before restarts of a container that keeps ending."""

    initial_seconds: float = 10.0  # before the second restart; the first is immediate
    longest_seconds: float = 300.0  # the wait doubles up to this
    reset_seconds: float = 600.0  # a run of this length makes the next failure count as the first


@dataclass(frozen=True, kw_only=True, slots=True)
class Taint:
    """A taint the node registers with."""

    key: str
    value: str
    effect: str  # NoSchedule, PreferNoSchedule or NoExecute


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """Settings of a node."""

    name: str  # the Node object's name
    state_dir: Path  # scratch of all pods, logs; made at start, gone at stop
    resources: Mapping[str, str] = field(default_factory=dict)  # quantities offered; cpu, memory, pods have defaults
    labels: Mapping[str, str] = field(default_factory=dict)  # in addition to the well-known labels
    taints: Sequence[Taint] = ()
    images: Mapping[str, Path] = field(default_factory=dict)  # directory by image name
    lease_seconds: int = 40  # validity of a renewal of the node's lease
    heartbeat_seconds: float = 10.0  # between renewals
    backoff: RestartBackoff = field(default_factory=RestartBackoff)
    shutdown_seconds: float = 10.0  # limit for the grace period of pods when the node stops
    config_retry_seconds: float = 1.0  # between tries for a missing config map, secret or volume
    address: str = "127.0.0.1"  # where the node's own HTTP endpoint listens
    tls_certificate: Path | None = None  # of that endpoint, PEM with key; None for plain HTTP
