"""Convert the snapshot script's flat reply to a QueueSnapshot. Pure. Used by `inspector`."""

from __future__ import annotations

import math
from typing import Any

from agentpool_core.jobs import BudgetUse, Priority, WorkerId
from agentpool_core.queue.codec.layout import read_worker
from agentpool_core.queue.limits import Limit, Rate, RateUnit
from agentpool_core.queue.settings import PoolSettings
from agentpool_core.queue.snapshots import LimitSnapshot, QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_core.queue.usage import BILLION

LONGEST_PAUSE_MS = 86_400_000  # as the longest backoff of a pool


def snapshot_of(reply: list[Any]) -> QueueSnapshot:
    """Return the snapshot in snapshot.lua's reply, which starts with "ok"."""
    _, now, revision, paused, retired, routes, scheduled, blocked, dead, oldest, *rest = reply
    limits, due, uses, flat_counters, flat_workers, waiting = rest
    counters = dict(zip(flat_counters[::2], flat_counters[1::2], strict=True))
    return QueueSnapshot(
        taken_at_ms=now,
        routes=_routes(routes, counters, now),
        limits=_limits(limits, counters, dict(zip(uses[::2], uses[1::2], strict=True)), now),
        held=int(counters.get("held", 0)),
        due=due,
        scheduled=scheduled,
        blocked=blocked,
        waiting=waiting,
        dead=dead,
        oldest_wait_ms=None if oldest < 0 else max(0, now - oldest),
        workers=_workers(flat_workers),
        submitted_total=int(counters.get("submitted", 0)),
        started_total=int(counters.get("started", 0)),
        finished_total=int(counters.get("finished", 0)),
        run_ms_total=int(counters.get("run_ms", 0)),
        attempts_total=int(counters.get("attempts", 0)),
        quarantined=int(counters.get("suspects", 0)),
        reserved=WorkerId(counters["alone"]) if "alone" in counters else None,
        paused=bool(paused),
        retired=bool(retired),
        settings_revision=revision,
        cordoned=frozenset(
            WorkerId(field[2:]) for field, till in counters.items() if field.startswith("x:") and float(till) > now
        ),
    )


def _routes(settings: str, counters: dict[str, str], now: int) -> tuple[RouteSnapshot, ...]:
    """Return the routes of the settings, then former routes that still hold jobs."""
    known = PoolSettings.from_mapping({"routes": settings})
    names = dict.fromkeys(route.name for route in known.routes)
    for field, count in counters.items():
        sort, _, place = field.partition(":")
        if sort in {"q", "y", "u", "n", "r"} and count != "0":
            names.setdefault(place if sort == "r" else place.rpartition(":")[0])
    return tuple(
        RouteSnapshot(
            name=name,
            limit=known.find_route(name).max_running,
            slots=known.find_route(name).slots,
            gpu_memory_mib=known.find_route(name).gpu_memory_mib,
            queued={
                priority: sum(int(counters.get(f"{sort}:{name}:{priority}", 0)) for sort in "qyun")
                for priority in Priority
            },
            running=int(counters.get(f"r:{name}", 0)),
            paused_ms=_paused_ms(int(counters.get(f"p:{name}", 0)), now),
        )
        for name in names
    )


def _paused_ms(until_ms: int, now_ms: int) -> int:
    """Return the rest of a pause; a later end than a pause may have counts as none."""
    left_ms = max(0, until_ms - now_ms)
    return left_ms if left_ms <= LONGEST_PAUSE_MS else 0


def _limits(settings: str, counters: dict[str, str], uses: dict[str, str], now: int) -> tuple[LimitSnapshot, ...]:
    limits = PoolSettings.from_mapping({"limits": settings}).limits
    return tuple(_limit(limit, counters, float(uses.get(limit.name, "0")), now) for limit in limits)


def _limit(limit: Limit, counters: dict[str, str], use: float, now: int) -> LimitSnapshot:
    return LimitSnapshot(
        name=limit.name,
        by=limit.by,
        text=limit.text,
        waiting=int(counters.get(f"w:{limit.name}", 0)),
        routes=limit.routes if limit.is_gate else None,
        free=None if limit.by else _free(limit, counters, use, now),
        interval_ms=None if limit.rate is None else limit.rate.interval_ms,
        burst=None if limit.rate is None else limit.rate.burst,
        level=None if limit.by or not limit.rate else _level(limit.rate, use, now),
        opens_at_ms=None if limit.by else _opens_at_ms(limit, use, now),
        budget=None if limit.by else _budget(limit, use, now),
    )


def _budget(limit: Limit, use: float, now: int) -> BudgetUse | None:
    if limit.budget is None:
        return None
    window_ms = limit.budget.window_ms
    return BudgetUse(
        limit=limit.name,
        amount=limit.budget.amount,
        spent=use / BILLION,
        resets_at_ms=(now // window_ms + 1) * window_ms,
    )


def _free(limit: Limit, counters: dict[str, str], use: float, now: int) -> int | None:
    """Return how many jobs of a limit may start now, as scripts/lib/limits.lua counts them; None: any number."""
    if limit.budget is not None:
        return None if use < limit.budget.amount * BILLION else 0
    if limit.rate is not None:
        free = max(0, int(_level(limit.rate, use, now)))
        return None if free and limit.rate.unit is RateUnit.TOKENS else free
    if limit.is_gate:
        running = (int(n) for field, n in counters.items() if field[:2] == "r:" and limit.covers_route(field[2:]))
        use = sum(running)
    return max(0, (limit.max_running or 0) - int(use))


def _level(rate: Rate, use: float, now: int) -> float:
    """Return how many starts or tokens of a rate are free; below 0 they are a debt."""
    ahead_ms = max(0.0, use - now) if math.isfinite(use) else 0.0  # of the time at which all of them are free again
    return rate.burst - ahead_ms / rate.interval_ms


def _opens_at_ms(limit: Limit, use: float, now: int) -> int | None:
    """Return when an exhausted rate has room for one start or token again."""
    if limit.rate is None or not math.isfinite(use):
        return None
    opens = use - (limit.rate.burst - 1) * limit.rate.interval_ms
    return math.ceil(opens) if opens > now else None


def _workers(flat: list[str]) -> tuple[WorkerSnapshot, ...]:
    found = []
    for name, expiry, info in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        worker = read_worker(info)
        found.append(
            WorkerSnapshot(
                name=WorkerId(name),
                slots=worker.slots,
                running=worker.running,
                host=worker.host,
                version=worker.version,
                since_ms=worker.since_ms,
                note=worker.note,
                lease_expires_at_ms=int(float(expiry)),
            )
        )
    return tuple(found)
