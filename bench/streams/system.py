"""The system of `bench streams`: a gateway and workers that are killed in turn, and the processor time of the parts.

A worker's supervisor starts the next worker process.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gateway import Gateway
    from bench.stage import Stage


async def kill_in_turn(gateway: Gateway, supervisors: Sequence[int], every_s: float, seconds: float) -> tuple[int, int]:
    """Kill a worker or the gateway every few seconds, in turn; return the kills of each."""
    workers = gateways = 0
    until = time.monotonic() + seconds
    while time.monotonic() + every_s < until:
        await asyncio.sleep(every_s)
        if workers <= gateways:
            for worker in psutil.Process(supervisors[workers % len(supervisors)]).children():
                worker.kill()
            workers += 1
        else:
            await gateway.stop(kill=True)
            await gateway.start()
            gateways += 1
    return workers, gateways


async def processor_seconds(place: Stage, gateway: Gateway) -> dict[str, float]:
    """Return the processor time that each part has used; the workers' without their supervisors."""
    server = (await place.redis.execute_command("INFO", "server"))["process_id"]
    workers = [child.pid for pid in place.pids for child in psutil.Process(pid).children()]
    parts = {
        "the server": [int(server)],
        "the workers": workers,
        "the gateway": [gateway.pid],
        "the readers": [os.getpid()],
    }
    return {part: sum(_used_by(pid) for pid in pids) for part, pids in parts.items()}


def _used_by(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
