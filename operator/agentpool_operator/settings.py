"""The operator's own settings: a dataclass for each concern, with units, defaults and reasons.

`commands` fills them from flags and environment variables; `process` passes each part its settings.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from agentpool_core import DISTRIBUTION
from agentpool_core.process.sockets import EVERYWHERE

# A tag, because the kubelet always pulls an image without a tag and so ignores an image loaded onto the node.
WORKER_IMAGE = f"agentpool-worker:{version(DISTRIBUTION)}"


def _identity() -> str:
    """Return the holder's name in the Lease: unique for each process, readable in `kubectl get lease`."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ElectionSettings:
    """The Lease. A takeover takes at most `lease_s + retry_s`, which must stay below 15 s."""

    enabled: bool = True
    namespace: str = "default"  # where the Lease lives
    name: str = "agentpool-operator"
    identity: str = field(default_factory=_identity)
    pod: tuple[str, str] | None = None  # name and uid of the own pod, which owns the Lease; None = outside a pod
    lease_s: float = 10.0  # seconds without renewal before a takeover
    renew_deadline_s: float = 7.0  # seconds after which a leader that could not renew stops writing
    retry_s: float = 2.0  # seconds between renewals, and between a candidate's attempts


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingLoopSettings:
    """The scaling loop's pace."""

    read_timeout_s: float = 3.0  # seconds for a read of a Redis; longer means unknown
    wake_gap_s: float = 0.05  # seconds between two wake-ups by pressure: a burst is a single read
    status_gap_s: float = 5.0  # seconds between two patches of a status that change figures only; more with many pools
    resync_s: float = 300.0  # seconds between full lists, in case a watch lost a deletion
    secret_recheck_s: float = 15.0  # seconds before a Secret in use is read again
    secret_retry_s: float = 2.0  # seconds before a Secret that is missing or refused is read again


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorSettings:
    """Settings of the operator."""

    namespaces: tuple[str, ...] = ()  # watched namespaces; empty = all
    kubeconfig: Path | None = None  # None = KUBECONFIG, ~/.kube/config, or the pod's service account
    health_host: str = EVERYWHERE  # probes and Prometheus connect from other hosts
    health_port: int = 8081  # 0 = any free port
    image_pull_secrets: tuple[str, ...] = ()  # for pools without imagePullSecrets in their template
    worker_image: str = WORKER_IMAGE  # for pools without an image in their template
    election: ElectionSettings = ElectionSettings()
    loop: ScalingLoopSettings = ScalingLoopSettings()


SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def own_pod() -> tuple[str, str] | None:
    """Return name and uid of the pod that this process runs in, as the chart passes them; None outside a pod."""
    name, uid = (os.environ.get(f"AGENTPOOL_OPERATOR_POD_{part}", "") for part in ("NAME", "UID"))
    return (name, uid) if name and uid else None


def own_namespace() -> str:
    """Return the namespace of this process; `default` outside a pod."""
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip() or "default"
    except OSError:
        return "default"
