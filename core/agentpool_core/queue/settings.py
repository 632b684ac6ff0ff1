"""A pool's settings in its queue: the `conf` hash.

The operator resolves an AgentPool's spec into `PoolSettings` and publishes it; scripts read single fields, workers read
the whole hash and notice a change by `revision`. A worker run by hand publishes defaults if there are none.
`agentpool_core.queue.inspector` writes the hash, `agentpool_core.queue.consumer` reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import Durability
from agentpool_core.queue.codec.json_text import MOST_EXACT, parse
from agentpool_core.queue.formats import FORMAT
from agentpool_core.queue.limits import Budget, Limit, LimitBy, Rate, RateUnit
from agentpool_core.queue.schedule import Schedule
from agentpool_core.queue.usage import BILLION
from agentpool_core.text import RENDERED_CHARS, render_value

DEFAULT_ROUTE = "default"
_LEAST = {  # of numbers that may not be 0
    **dict.fromkeys(("max_depth", "max_attempts", "lease_ms", "timeout_ms", "concurrency"), 1),
    **dict.fromkeys(("adaptive_min", "adaptive_max", "retention_results_ms", "retention_dead_ms"), 1),
}
_COSTS = {"slots": 1, "gpu_memory_mib": 0, "tokens": 0}  # of a route, each with its least number
_LIMIT_NAME = re.compile(r"[a-z0-9-]+")
log = logging.getLogger(__name__)


class AdaptiveMode(StrEnum):
    """Basis of changes to a worker's number of slots at run time."""

    OFF = "Off"  # nothing: `concurrency` slots
    GPU = "GPU"  # measured goodput, within the GPU's memory, and the handler's overload signals
    GOODPUT = "Goodput"  # measured goodput, and the handler's overload signals
    OVERLOAD = "Overload"  # the handler's overload signals only


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A share of the pool: its kinds of job, and their limit."""

    name: str
    kinds: tuple[str, ...] = ()  # job kinds that take this route; unlisted kinds take `default`, or are refused
    max_running: int | None = None  # jobs at once over all workers; None = no limit
    slots: int = 1  # slots of a worker that a job takes
    gpu_memory_mib: int = 0  # GPU memory of a worker that a job takes, in MiB
    tokens: int = 0  # of models, that a job is expected to use unless it declares them; rates of tokens count them

    @property
    def is_plain(self) -> bool:
        """Whether a job takes one slot and nothing else."""
        return self.slots == 1 and not self.gpu_memory_mib


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSchema:
    """JSON Schemas for jobs of some kinds, as JSON texts."""

    kinds: tuple[str, ...]
    input: str | None = None  # of payloads; None: any payload
    output: str | None = None  # of results; None: any result


_NO_SCHEMA = JobSchema(kinds=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """A tenant with a share that differs from the others'."""

    name: str
    weight: int  # a tenant of weight 2 starts twice as many jobs as one of weight 1, the default, while both wait


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """Everything that scripts and workers need to know of a pool. Times are milliseconds."""

    routes: tuple[Route, ...] = ()  # `default` is added if not listed
    limits: tuple[Limit, ...] = ()  # beside the routes' own
    schedules: tuple[Schedule, ...] = ()  # of the AgentPool; clients add dynamic ones
    tenants: tuple[Tenant, ...] = ()  # with a weight other than 1
    schemas: tuple[JobSchema, ...] = ()  # a kind is in one of them at most
    refuse_unlisted_kinds: bool = False  # refuse a job of a kind that no route lists, instead of the route `default`
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
    lease_ms: int = 10_000  # time until a silent worker loses its jobs
    timeout_ms: int = 900_000  # longest run of an attempt
    unknown_kind_ms: int = 600_000  # wait of a job for a worker that knows its kind, while none does
    keep_wait_ms: int = 1_000  # a wait with less time left keeps its handler and its slot
    refuse_endless_waits: bool = False  # a wait for a signal without a timeout fails its job for good
    durability: Durability = Durability.LOCAL  # of a submit without a choice
    retention_results_ms: int = 86_400_000  # how long ended jobs can be read
    retention_dead_ms: int = 604_800_000  # how long dead letters are kept
    concurrency: int = 20  # slots a worker
    adaptive_mode: AdaptiveMode = AdaptiveMode.OFF
    adaptive_min: int = 1  # slots, floor when adaptive
    adaptive_max: int = 20  # slots, ceiling when adaptive
    gpu_memory_mib: int = 0  # of a worker, for jobs, in MiB; 0: not divided between jobs
    drain_ms: int = 300_000  # time for the jobs of a stopping worker
    paused: bool = False  # no new claims
    delete_with_pool: bool = False  # deletionPolicy: Delete: the keys go when the AgentPool goes
    retired: bool = False  # deletionPolicy: Retain: the AgentPool is gone; its jobs can be read, new jobs are refused
    _by_kind: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Add the default route if missing, and index the kinds."""
        if all(route.name != DEFAULT_ROUTE for route in self.routes):
            object.__setattr__(self, "routes", (*self.routes, Route(name=DEFAULT_ROUTE)))
        by_kind = {kind: route.name for route in self.routes for kind in route.kinds}
        object.__setattr__(self, "_by_kind", by_kind)
        object.__setattr__(self, "_by_name", {route.name: route for route in self.routes})

    def route_of(self, kind: str) -> str:
        """Return the route of a job of this kind."""
        return self._by_kind.get(kind, DEFAULT_ROUTE)

    def schema_of(self, kind: str) -> JobSchema:
        """Return the schemas of a kind."""
        if not self.schemas:  # called for each job that ends
            return _NO_SCHEMA
        return next((schema for schema in self.schemas if kind in schema.kinds), _NO_SCHEMA)

    def find_route(self, name: str) -> Route:
        """Return the route of this name; a plain one if there is none any more."""
        return self._by_name.get(name) or Route(name=name)

    @property
    def packs(self) -> bool:
        """Whether jobs of some route take more than a slot."""
        return not all(route.is_plain for route in self.routes)

    @property
    def revision(self) -> str:
        """A short digest of all settings and of the format: equal exactly when these are."""
        text = json.dumps([FORMAT, _plain(self)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_mapping(self) -> dict[str, str]:
        """Return the `conf` hash: a field for each setting, plus fields that scripts look up.

        These are `route:<kind>`, `limit:<route>`, `cost:<route>` (slots, GPU memory in MiB), `tokens:<route>`,
        `weight:<sha1>`, and `schema:<kind>` with the digest of the schema of payloads. A setting of None is the empty
        string.
        """
        mapping = {name: _encoded(value) for name, value in _plain(self).items()}
        mapping |= {f"route:{kind}": route.name for route in self.routes for kind in route.kinds}
        mapping |= {
            f"limit:{route.name}": str(route.max_running) for route in self.routes if route.max_running is not None
        }
        mapping |= {
            f"cost:{route.name}": f"{route.slots} {route.gpu_memory_mib}" for route in self.routes if not route.is_plain
        }
        mapping |= {f"tokens:{route.name}": str(route.tokens) for route in self.routes if route.tokens}
        mapping |= {f"schedule:{schedule.name}": schedule.to_json() for schedule in self.schedules}
        mapping |= {f"weight:{subject_digest(tenant.name)}": str(tenant.weight) for tenant in self.tenants}
        mapping |= {f"schema:{kind}": schema_digest(s.input) for s in self.schemas if s.input for kind in s.kinds}
        mapping["format"] = str(FORMAT)
        mapping["revision"] = self.revision
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> PoolSettings:
        """Return the settings of a `conf` hash. Never raises: a different version may have written it.

        Missing fields keep their defaults, and so do unusable values, with a warning each; unknown fields are ignored.
        """
        values: dict[str, object] = {}
        for setting in fields(cls):
            if not setting.init or (text := mapping.get(setting.name)) is None:
                continue
            try:
                values[setting.name] = _decoded(setting.name, str(setting.type), text)
            except (InvalidJobError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                _warn_of(setting.name, text[:RENDERED_CHARS], str(setting.default))
        return cls(**values)  # type: ignore[arg-type]  # each value was decoded by its field's type


def _plain(settings: PoolSettings) -> dict[str, object]:
    """Return the settings as JSON values, by field name."""
    plain: dict[str, object] = {s.name: getattr(settings, s.name) for s in fields(settings) if s.init}
    plain["routes"] = [_plain_route(route) for route in settings.routes]
    plain["schedules"] = [json.loads(schedule.to_json()) for schedule in settings.schedules]
    plain["tenants"] = [{"name": tenant.name, "weight": tenant.weight} for tenant in settings.tenants]
    plain["limits"] = [_plain_limit(limit) for limit in settings.limits]
    plain["schemas"] = [{"kinds": list(s.kinds), "input": s.input, "output": s.output} for s in settings.schemas]
    return plain


def _plain_route(route: Route) -> dict[str, object]:
    plain: dict[str, object] = {"name": route.name, "kinds": list(route.kinds), "max_running": route.max_running}
    if not route.is_plain:
        plain |= {"slots": route.slots, "gpu_memory_mib": route.gpu_memory_mib}
    return plain | {"tokens": route.tokens} if route.tokens else plain


def _plain_limit(limit: Limit) -> dict[str, object]:
    """Return the limit as scripts read it: a field that does not apply is left out."""
    rate, budget = limit.rate, limit.budget
    plain = {
        "name": limit.name,
        "by": limit.by and limit.by.value,
        "kinds": list(limit.kinds) or None,
        "routes": list(limit.routes) or None,
        "max_running": limit.max_running,
        "count": rate and rate.count,
        "period_ms": rate and rate.period_ms,
        "burst": rate and rate.burst,
        "tokens": True if rate and rate.unit is RateUnit.TOKENS else None,
        "amount": budget and budget.amount * BILLION,
        "window_ms": budget and budget.window_ms,
    }
    return {name: value for name, value in plain.items() if value is not None}


def _encoded(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def _list_of(name: str, text: str) -> list[Any]:
    """Return the list of a field. Raises ValueError or TypeError for any other text, and for halves of characters."""
    plain = parse(name, text)
    if not isinstance(plain, list):
        raise TypeError("not a list")
    json.dumps(plain, ensure_ascii=False).encode()
    return plain


def routes_of(text: str) -> tuple[Route, ...]:
    """Return the routes of the field `routes`. Raises ValueError, TypeError or KeyError for any other text."""
    found = []
    for route in _list_of("routes", text):
        name, kinds, limit = route["name"], route["kinds"], route["max_running"]
        if not isinstance(name, str) or not all(isinstance(kind, str) for kind in kinds):
            raise TypeError("a route's name and kinds are texts")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ValueError("a route's max_running is a whole number from 1, or null")
        costs = {field: _number_of(route[field], least=least) for field, least in _COSTS.items() if field in route}
        found.append(Route(name=name, kinds=tuple(kinds), max_running=limit, **costs))
    return tuple(found)


def limits_of(text: str) -> tuple[Limit, ...]:
    """Return the limits of the field `limits`, without those that this version cannot use, with a warning each.

    `scripts/lib/pool.lua` ignores the same limits. Raises ValueError or TypeError for a text without a list.
    """
    found = []
    for limit in _list_of("limits", text):
        try:
            found.append(_limit_of(limit))
        except (ValueError, TypeError, KeyError, AttributeError):
            _warn_of("limits", json.dumps(limit)[:RENDERED_CHARS], "no such limit")
    return tuple(found)


def tenants_of(text: str) -> tuple[Tenant, ...]:
    """Return the tenants of the field `tenants`. Raises ValueError, TypeError or KeyError for any other text."""
    found = []
    for plain in _list_of("tenants", text):
        if not isinstance(plain["name"], str) or not isinstance(plain["weight"], int) or plain["weight"] < 1:
            raise ValueError("a tenant has a name and a weight from 1")
        found.append(Tenant(name=plain["name"], weight=plain["weight"]))
    return tuple(found)


def schemas_of(text: str) -> tuple[JobSchema, ...]:
    """Return the schemas of the field `schemas`. Raises ValueError, TypeError or KeyError for any other text."""
    found = []
    for plain in _list_of("schemas", text):
        kinds, ways = plain["kinds"], (plain["input"], plain["output"])
        if not all(isinstance(kind, str) for kind in kinds) or not all(isinstance(way, str | None) for way in ways):
            raise TypeError("kinds and schemas are texts")
        found.append(JobSchema(kinds=tuple(kinds), input=ways[0], output=ways[1]))
    return tuple(found)


def schema_digest(schema: str) -> str:
    """Return the digest by which a submit names the schema that its payload fits."""
    return hashlib.sha256(schema.encode()).hexdigest()[:16]


def subject_digest(text: str) -> str:
    """Return the digest that names a key or tenant in Redis, as scripts compute it (`redis.sha1hex`)."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _limit_of(plain: Mapping[str, Any]) -> Limit:
    name, kinds, routes = plain["name"], plain.get("kinds", []), plain.get("routes", [])
    if not _LIMIT_NAME.fullmatch(name):
        raise ValueError("a limit's name has lower-case letters, digits and dashes")
    if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in (kinds, routes)):
        raise TypeError("a limit's kinds and routes are lists of texts")
    rated, budgeted = "count" in plain, "amount" in plain
    return Limit(
        name=name,
        by=LimitBy(plain["by"]) if "by" in plain else None,
        kinds=tuple(kinds),
        routes=tuple(routes),
        max_running=None if rated or budgeted else _number_of(plain["max_running"]),
        rate=_rate_of(plain) if rated else None,
        budget=_budget_of(plain) if budgeted else None,
    )


def _rate_of(plain: Mapping[str, Any]) -> Rate:
    if plain.get("tokens", True) is not True:
        raise ValueError("the field tokens of a rate is true, or absent")
    numbers = {field: _number_of(plain[field]) for field in ("count", "period_ms", "burst")}
    return Rate(**numbers, unit=RateUnit.TOKENS if "tokens" in plain else RateUnit.STARTS)


def _budget_of(plain: Mapping[str, Any]) -> Budget:
    return Budget(amount=max(1, _number_of(plain["amount"]) // BILLION), window_ms=_number_of(plain["window_ms"]))


def _number_of(value: object, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_EXACT:
        raise ValueError(f"a route's and a limit's numbers are whole numbers from {least}")
    return value


def schedules_of(text: str) -> tuple[Schedule, ...]:
    """Return the schedules of the field `schedules`. Raises as `Schedule.from_mapping` for any other text."""
    return tuple(Schedule.from_mapping(plain) for plain in _list_of("schedules", text))


_CHOICES: Mapping[str, Callable[[str], object]] = {"AdaptiveMode": AdaptiveMode, "Durability": Durability}
_LISTS: Mapping[str, Callable[[str], object]] = {
    "routes": routes_of,
    "limits": limits_of,
    "schedules": schedules_of,
    "tenants": tenants_of,
    "schemas": schemas_of,
}


def _decoded(name: str, kind: str, text: str) -> object:
    if name in _LISTS:
        return _LISTS[name](text)
    if kind in _CHOICES:
        return _CHOICES[kind](text)
    if kind == "bool":
        return {"1": True, "0": False}[text]
    if text == "" and kind.endswith("None"):
        return None
    number = int(text)
    if not _LEAST.get(name, 0) <= number <= MOST_EXACT:
        raise ValueError("out of range")
    return number


@lru_cache(maxsize=1_000)  # bounded: values come from Redis
def _warn_of(name: str, text: str, default: str) -> None:
    """Warn once in a process of a setting that this version cannot use."""
    log.warning(
        "setting %s of the pool is %s, which this version cannot use: it goes on with the default, %s",
        name, render_value(text), default,
    )  # fmt: skip
