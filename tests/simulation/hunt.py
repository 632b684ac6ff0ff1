"""Many schedules, each process with a server of its own: consecutive seeds, or a mutant's until one has a finding."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import Any

from tests.mutants.catalogue import apply, of_name
from tests.simulation.grounds import simulated_server
from tests.simulation.schedule import simulate


@dataclass(frozen=True)
class Catch:
    """Outcome for a mutant."""

    mutant: str
    seed: int | None  # of the first schedule with a finding; None: the mutant survived
    finding: str = ""


def workshop(processes: int, **options: Any) -> Pool:
    """Return a pool of processes that start with everything imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context.Pool(processes, **options)


def findings_of(seeds: range) -> list[tuple[int, list[str]]]:
    """Run schedules on one server; return those with findings."""
    gc.freeze()  # what was imported stays, so collections need not look at it
    with simulated_server() as server:
        found = [(seed, simulate(seed, server).findings) for seed in seeds]
    return [(seed, findings) for seed, findings in found if findings]


def hunt(names: Iterable[str], schedules: int, processes: int) -> Iterator[Catch]:
    """Yield the outcomes, each mutant in a process of its own."""
    with workshop(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(_hunt, [(name, schedules) for name in names])


def _hunt(task: tuple[str, int]) -> Catch:
    name, schedules = task
    apply(of_name(name))
    with simulated_server() as server:
        for seed in range(1, schedules + 1):
            if found := _findings(seed, server):
                return Catch(name, seed, found)
    return Catch(name, None)


def _findings(seed: int, server) -> str:
    try:
        return next(iter(simulate(seed, server).findings), "")
    except Exception as error:  # noqa: BLE001  # a queue that is wrong may break anything
        return f"{type(error).__name__}: {error}"
