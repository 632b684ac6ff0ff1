"""A pool's settings as its queue holds them: the `conf` hash.

The operator resolves an AgentPool's spec into `PoolSettings` and publishes it; scripts read single fields, workers
read all of it and notice a change by `revision`. A worker run by hand publishes defaults when there are none.
Who takes over next: `agentpool.queue.inspect` writes the hash, `agentpool.queue.consumer` reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

DEFAULT_ROUTE = "default"


class AdaptiveMode(StrEnum):
    """What may change a worker's number of slots while it runs."""

    OFF = "Off"  # nothing: `concurrency` slots
    GPU = "GPU"  # GPU utilisation and memory, and the handler's overload signals
    OVERLOAD = "Overload"  # the handler's overload signals only


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A share of the pool: the kinds of job that take it, and how many of them may run at once."""

    name: str
    kinds: tuple[str, ...] = ()  # job kinds that take this route; unlisted kinds take `default`, or are refused
    max_running: int | None = None  # jobs at once over all workers; None = no limit


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """Everything that scripts and workers need to know of a pool. Times are milliseconds."""

    routes: tuple[Route, ...] = ()  # `default` is added where it is not listed
    refuse_unlisted_kinds: bool = False  # a job whose kind no route lists is refused, and does not take `default`
    max_depth: int = 100_000  # waiting jobs (scheduled, blocked, queued) before submits are refused
    patience_critical_ms: int = 0  # added to a job's enqueue time when heads are compared
    patience_task_ms: int = 60_000
    patience_info_ms: int = 600_000
    ttl_critical_ms: int | None = None  # longest wait before a job expires; None = for ever
    ttl_task_ms: int | None = None
    ttl_info_ms: int | None = None
    max_attempts: int = 5  # real attempts; a drain or a preemption does not count
    retry_initial_ms: int = 1_000  # first backoff; doubles each attempt, with jitter
    retry_max_ms: int = 300_000  # longest backoff
    lease_ms: int = 10_000  # how long a silent worker keeps its jobs
    timeout_ms: int = 900_000  # one attempt's longest run
    retention_results_ms: int = 86_400_000  # how long ended jobs can be read
    retention_dead_ms: int = 604_800_000  # how long dead letters are kept
    concurrency: int = 20  # slots a worker
    adaptive_mode: AdaptiveMode = AdaptiveMode.OFF
    adaptive_min: int = 1  # slots, floor when adaptive
    adaptive_max: int = 20  # slots, ceiling when adaptive
    drain_ms: int = 300_000  # how long a stopping worker lets its jobs finish
    paused: bool = False  # no new claims
    delete_with_pool: bool = False  # deletionPolicy: Delete: the keys go when the AgentPool goes
    retired: bool = False  # deletionPolicy: Retain: the AgentPool is gone; what is kept can be read, nothing new is
    _by_kind: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Adds the default route where it is missing, and indexes the kinds."""
        if all(route.name != DEFAULT_ROUTE for route in self.routes):
            object.__setattr__(self, "routes", (*self.routes, Route(name=DEFAULT_ROUTE)))
        by_kind = {kind: route.name for route in self.routes for kind in route.kinds}
        object.__setattr__(self, "_by_kind", by_kind)

    def route_of(self, kind: str) -> str:
        """The route a job of this kind takes."""
        return self._by_kind.get(kind, DEFAULT_ROUTE)

    @property
    def revision(self) -> str:
        """A short digest of all settings: equal exactly when the settings are."""
        text = json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_mapping(self) -> dict[str, str]:
        """The `conf` hash: one field for each setting, plus `route:<kind>` and `limit:<route>` for scripts.

        A setting of None is the empty string.
        """
        mapping = {name: _encoded(value) for name, value in _plain(self).items()}
        mapping |= {f"route:{kind}": route.name for route in self.routes for kind in route.kinds}
        mapping |= {
            f"limit:{route.name}": str(route.max_running) for route in self.routes if route.max_running is not None
        }
        mapping["revision"] = self.revision
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> PoolSettings:
        """The settings of a `conf` hash; fields that an older writer left out keep their defaults."""
        values: dict[str, object] = {}
        for setting in fields(cls):
            if setting.init and setting.name in mapping:
                values[setting.name] = _decoded(setting.name, str(setting.type), mapping[setting.name])
        return cls(**values)  # type: ignore[arg-type]  # each value was decoded by its field's type


def _plain(settings: PoolSettings) -> dict[str, object]:
    """The settings as JSON values, by field name."""
    plain: dict[str, object] = {s.name: getattr(settings, s.name) for s in fields(settings) if s.init}
    plain["routes"] = [{"name": r.name, "kinds": list(r.kinds), "max_running": r.max_running} for r in settings.routes]
    return plain


def _encoded(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def _decoded(name: str, kind: str, text: str) -> object:
    if name == "routes":
        return tuple(
            Route(name=r["name"], kinds=tuple(r["kinds"]), max_running=r["max_running"]) for r in json.loads(text)
        )
    if kind == "AdaptiveMode":
        return AdaptiveMode(text)
    if kind == "bool":
        return text == "1"
    return None if text == "" else int(text)
