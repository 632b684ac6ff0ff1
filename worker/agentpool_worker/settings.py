"""A worker's own settings: flags first, then environment, then defaults.

Settings of the pool (concurrency, lease, drain, adaptive) are not here: they come live from the queue. A variable's
name is derived from the field's name, so a message never names a wrong variable. `agentpool_worker.worker` takes over
next.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from agentpool_core import DISTRIBUTION
from agentpool_core.environment import redis_url
from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.process.sockets import EVERYWHERE
from agentpool_worker.naming import own_name
from agentpool_worker.supervision.probe_socket import HTTP_PORT
from agentpool_worker.supervision.restarts import START_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "AGENTPOOL_"
VERSION = version(DISTRIBUTION)  # of this worker
OUTPUT_SECONDS = 1.0
_BY_HAND_SECONDS = 30.0  # a person watches, and a mistyped address is as likely as an outage
_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """Settings that the pool does not provide."""

    redis_url: str  # redis://, rediss:// or unix://
    pool: PoolRef
    worker: WorkerId  # unique among the pool's workers; in a cluster the pod's name
    host: str = ""  # host name, for observers of the pool's workers
    publish_defaults: bool = False  # a pool without settings gets defaults: for a worker run by hand, with no operator
    handler: str | None = None  # JSON of spec.handler; None: an App is given otherwise
    handler_port: int | None = None  # of the HTTP handler; None: the port in `handler`
    concurrency: int | None = None  # slots; None: the pool's setting
    drain_seconds: float | None = None  # for jobs to end after SIGTERM; None: the pool's setting
    http_host: str = EVERYWHERE  # the kubelet probes the pod's address
    http_port: int = HTTP_PORT  # probes and metrics; 0: any free port
    block_warn_seconds: float = 1.0  # blocked event loop: log a warning
    block_give_up_seconds: float = 60.0  # blocked event loop: the lease is given up
    cancel_grace_seconds: float = 5.0  # for a cancelled handler to stop
    output_seconds: float = (
        OUTPUT_SECONDS  # for a command's output after the end of its process; later output is ignored
    )
    memory_limit_bytes: int | None = None  # of this process: drains near the limit; None: the container's limit
    start_seconds: float | None = None  # for Redis and the pool to be available; None: 600, or 30 if run by hand
    neighbours: int = 0  # containers of the pod that ask /drained before they end
    server_metrics: str | None = None  # URL of a model server's metrics, for adaptive slots; None: no such server
    safety_poll_seconds: float = 10.0  # a claim for the case that a bell was lost
    maintenance_seconds: float = 1.0  # about, between rounds of the queue's maintenance
    log_format: str = "json"  # json | text
    log_level: str = "info"

    @property
    def patience_seconds(self) -> float:
        """Return how long a starting worker waits for Redis and its pool."""
        if self.start_seconds is not None:
            return self.start_seconds
        return _BY_HAND_SECONDS if self.publish_defaults else START_SECONDS


def variable_of(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def settings_from(environ: Mapping[str, str], **flags: Any) -> WorkerSettings:
    """Return the settings of a command line and its environment; None marks an absent flag.

    Raises SettingError, naming flag and variable, for a missing or unusable value.
    """
    values: dict[str, Any] = {}
    for field in fields(WorkerSettings):
        given = flags.get(field.name)
        if given is None and field.name != "redis_url" and (text := environ.get(variable_of(field.name), "")):
            given = _parse(field.name, str(field.type), text)
        if given is not None:
            values[field.name] = given
    values["pool"] = _pool(values.get("pool"), environ)
    if not values.setdefault("redis_url", redis_url(environ)):
        raise _missing("redis_url", "--redis", "redis://localhost:6379/0")
    values.setdefault("host", socket.gethostname())
    values.setdefault("worker", WorkerId(own_name()))
    _check(values)
    return WorkerSettings(**values)


def _parse(name: str, kind: str, text: str) -> Any:
    try:
        if kind.startswith("int"):
            return int(text)
        if kind.startswith("float"):
            return float(text)
    except ValueError as error:
        raise SettingError(
            field=variable_of(name), value=text, problem="not a number", remedy="write digits only"
        ) from error
    return text


def _pool(given: Any, environ: Mapping[str, str]) -> PoolRef:
    if isinstance(given, PoolRef):
        return given
    if not given:
        raise _missing("pool", "--pool", "default/my-pool")
    return PoolRef.parse(given, default_namespace=environ.get(f"{PREFIX}NAMESPACE") or "default")


def _missing(field: str, flag: str, example: str) -> SettingError:
    return SettingError(
        field=f"{flag} ({variable_of(field)})",
        value=None,
        problem="it is needed",
        remedy=f"give it, for example {flag} {example}",
    )


def _check(values: Mapping[str, Any]) -> None:
    for name, (lowest, highest) in _BOUNDS.items():
        value = values.get(name)
        if value is not None and not lowest <= value <= highest:
            raise SettingError(
                field=f"--{name.replace('_', '-')} ({variable_of(name)})",
                value=value,
                problem="out of range",
                remedy=f"choose from {lowest:g} to {highest:g}",
            )
    metrics = values.get("server_metrics")
    if metrics is not None and not metrics.startswith(("http://", "https://")):
        raise SettingError(
            field=variable_of("server_metrics"),
            value=metrics,
            problem="not an HTTP address",
            remedy="use the address of the server's metrics, for example http://127.0.0.1:8000/metrics",
        )
    if values["worker"].startswith("~"):
        raise SettingError(
            field="--worker (AGENTPOOL_WORKER)",
            value=values["worker"],
            problem="names that begin with '~' are reserved for the queue",
            remedy="choose another name",
        )


_BOUNDS: dict[str, tuple[float, float]] = {
    "concurrency": (1, 10_000),
    "drain_seconds": (0, 86_400),
    "handler_port": (1, _HIGHEST_PORT),
    "http_port": (0, _HIGHEST_PORT),
    "block_warn_seconds": (0.05, 3_600),
    "block_give_up_seconds": (0.1, 86_400),
    "cancel_grace_seconds": (0, 3_600),
    "output_seconds": (0, 3_600),
    "memory_limit_bytes": (1, 2**60),
    "start_seconds": (0.1, 86_400),
    "neighbours": (0, 1_000),
    "safety_poll_seconds": (0.05, 3_600),
    "maintenance_seconds": (0.01, 3_600),
}
