"""The faults of a schedule, at moments that the seed chooses. At the end every machine is whole again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.fleet import Fleet
    from tests.simulation.network import Network
    from tests.simulation.server import Server
    from tests.simulation.story import Story
    from tests.simulation.virtual_loop import Machine

KINDS = ("kill", "kill", "lose", "freeze", "freeze", "cut off", "cut off", "leave", "crash", "go back", "clock")

CALM_SHARE = 0.25  # of the schedules: without faults, everything must be prompt


class Faults:
    """Injects faults until `until` (seconds)."""

    def __init__(
        self,
        seed: str,
        *,
        fleet: Fleet,
        network: Network,
        server: Server,
        story: Story,
        until: float,
        forget: Callable[[], object],
    ) -> None:
        self._chance = random.Random(seed)
        self._fleet, self._network, self._server, self._story = fleet, network, server, story
        self._until, self._forget = until, forget
        self.clock_set = False
        self.calm = self._chance.random() < CALM_SHARE

    async def run(self) -> None:
        """Inject some faults, then restore everything; none in a calm schedule."""
        chance = self._chance
        if self.calm:
            await asyncio.sleep(self._until)
            return
        self._network.trouble = chance.choice((0.0, 0.01, 0.05))
        moments = sorted(chance.uniform(0.2, self._until) for _ in range(chance.randint(0, 4)))
        async with asyncio.TaskGroup() as group:
            for at in moments:
                group.create_task(self._inject(at, chance.choice(KINDS), chance.uniform(0.2, 5.0)))
            await asyncio.sleep(self._until)
        self._network.trouble = 0.0
        self._story.add("-", "no more faults")

    async def _inject(self, at: float, kind: str, seconds: float) -> None:
        await asyncio.sleep(at)
        if kind == "crash":
            await self._crash(seconds, None)
        elif kind == "go back":
            await self._go_back(seconds)
        elif kind == "clock":
            await self._step(seconds)
        elif self._fleet.machines:
            name = self._chance.choice(sorted(self._fleet.machines))
            if kind in {"kill", "lose"}:
                self._fleet.kill(name, silently=kind == "lose")
                await asyncio.sleep(seconds)
                self._fleet.restart(name)
            elif kind == "leave":
                self._fleet.leave(name)
            else:
                await self._suspend(self._fleet.machines[name], kind, seconds * 1.5)

    async def _suspend(self, machine: Machine, kind: str, seconds: float) -> None:
        self._story.add(machine.name, f"{'is frozen' if kind == 'freeze' else 'is cut off'} for {seconds:.2f} s")
        if kind == "freeze":
            machine.freeze()
        else:
            self._network.cut_off.add(machine.name)
        await asyncio.sleep(seconds)
        if kind == "freeze":
            machine.thaw()
        else:
            self._network.heal(machine)

    async def _go_back(self, seconds: float) -> None:
        """Crash, and start with the state of some time ago: all promises since are void."""
        kept = self._server.keys()
        await asyncio.sleep(seconds / 3)
        self._forget()
        await self._crash(seconds / 3, kept)

    async def _crash(self, seconds: float, kept: list[Any] | None) -> None:
        lost = "" if kept is None else " and loses its latest writes"
        self._story.add("server", f"crashes{lost}, and is back in {seconds:.2f} s")
        self._server.down = True
        self._server.crash(kept)
        self._network.reset_all("the server has ended")
        await asyncio.sleep(seconds)
        self._server.down = False
        self._story.add("server", "is back")

    async def _step(self, seconds: float) -> None:
        step = self._chance.choice((-1.0, 1.0)) * self._chance.choice((seconds, 60.0))
        self.clock_set = True
        self._server.offset += step
        self._story.add("server", f"its clock is set by {step:+.2f} s")
