"""One schedule: build the system from a seed, run it until it rests, judge it, and end it without a trace."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Inspector, connect
from tests.simulation.autoscaler import MOST, Autoscaler
from tests.simulation.faults import Faults
from tests.simulation.fleet import URL, Fleet
from tests.simulation.front import Front
from tests.simulation.load import Load
from tests.simulation.network import Network
from tests.simulation.program import Facts, Program
from tests.simulation.story import Story
from tests.simulation.surroundings import surroundings
from tests.simulation.verdict import findings
from tests.simulation.virtual_loop import Machine, VirtualLoop
from tests.simulation.workload import Mixture

if TYPE_CHECKING:
    from tests.simulation.server import Server

POOL = PoolRef("sim", "pool")
TROUBLE_SECONDS = 5.0  # of submits and faults
REST_SECONDS = 90.0  # within which everything ends without faults
LOOK_SECONDS = 0.5  # between looks at the queue for what is left
SETTLE_SECONDS = 1.5  # for a round of maintenance of each worker
LEAVE_SECONDS = 12.0  # for a worker to leave, with the handlers of abandoned jobs
CLEANUPS_MAX = 100
FRESH_SHARE = 0.25  # of the schedules: on a server that knows no script yet


@dataclass
class Outcome:
    """A schedule that has ended."""

    seed: int
    story: Story
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0  # virtual


def simulate(seed: int, server: Server, *, calls: bool = False) -> Outcome:
    """Run the schedule of a seed on a server that no one else uses; `calls`: tell each call of the server, too."""
    loop = VirtualLoop()
    story = Story(loop.time)
    network = Network(loop, server, story, f"{seed}/network")
    loop.connect = network.connect
    outcome = Outcome(seed, story)
    loop.set_exception_handler(lambda _, context: outcome.findings.append(_words(context)))
    server.begin(loop, fresh=random.Random(f"{seed}/server").random() < FRESH_SHARE)
    if calls:
        server.heard = lambda session, data: story.add(f"call {session.number}", server.describe(data))
    try:
        with surroundings(loop, str(seed)), story.listening():
            program = Program(story)
            fleet = Fleet(network, story, POOL, program.app())
            program.die = fleet.die
            try:
                loop.run_until_complete(_play(seed, outcome, network, fleet, program.facts))
            finally:
                outcome.seconds = loop.now
                story.closed = True
                _end(loop, network)
    finally:
        server.finish()
        loop.close()
    return outcome


def _words(context: dict[str, Any]) -> str:
    return f"unhandled: {context['message']}: {context.get('exception')!r}"


async def _play(seed: int, outcome: Outcome, network: Network, fleet: Fleet, facts: Facts) -> None:
    """Run the system until it rests, judge it, and let all workers leave."""
    story, loop = outcome.story, network.loop
    redis = connect(URL)
    mixture = Mixture(random.Random(f"{seed}/load"), until=TROUBLE_SECONDS)
    await Inspector(redis).configure(POOL, mixture.settings)
    scaler = Autoscaler(fleet, story, POOL, replicas=2, concurrency=mixture.settings.concurrency)
    controlling = asyncio.create_task(scaler.control())
    client, operator = Machine(loop, "client"), Machine(loop, "operator")
    front = Front(Machine(loop, "gateway"), POOL)
    load = Load(story, POOL, list(mixture.plans()), front)
    faults = _faults_of(seed, network, fleet, load, facts)
    if faults.calm:
        scaler.replicas = MOST
    else:
        operator.start(scaler.run())
    await _disturb(outcome, client.start(load.run()), faults)
    await _rest(Inspector(redis), fleet)
    network.server.heard = lambda *_: None
    prompt = faults.calm and not facts.deaths and mixture.has_free_slots
    outcome.findings += [finding async for finding in findings(redis, POOL, load, facts, faults, prompt=prompt)]
    if not facts.forgotten and not faults.clock_set:  # maintenance mends faults, so none may appear
        outcome.findings += story.mentions("contradictions in the queue were resolved")
    operator.end()
    await end(controlling)
    for name in list(fleet.machines):
        fleet.leave(name)
    outcome.findings += await _left(fleet)
    for finding in outcome.findings:
        story.add("FINDING", finding)
    story.add("-", f"the end, after {network.server.calls} calls and {loop.turns} turns")
    await front.close()
    await redis.aclose()


def _faults_of(seed: int, network: Network, fleet: Fleet, load: Load, facts: Facts) -> Faults:
    def forget() -> None:
        load.forget()
        facts.forget()

    return Faults(
        f"{seed}/faults",
        fleet=fleet,
        network=network,
        server=network.server,
        story=network.story,
        until=TROUBLE_SECONDS,
        forget=forget,
    )


async def _disturb(outcome: Outcome, submitting: asyncio.Task[None], faults: Faults) -> None:
    """Inject the faults, then wait until the client knows the ends of all jobs."""
    await faults.run()
    try:
        async with asyncio.timeout(REST_SECONDS):
            await asyncio.shield(submitting)
    except TimeoutError:
        outcome.findings.append(f"no rest within {REST_SECONDS:g} s")


async def _rest(inspector: Inspector, fleet: Fleet) -> None:
    """Wait until no job is left, also of those that the client knows nothing of, and no worker's loss is unnoticed."""
    for _ in range(int(REST_SECONDS / LOOK_SECONDS)):
        seen = await inspector.snapshot(POOL)
        lost = {worker.name for worker in seen.workers} - set(fleet.machines)
        if not lost and not seen.queued + seen.held + seen.running + seen.waiting + seen.scheduled + seen.blocked:
            break
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)


async def _left(fleet: Fleet) -> list[str]:
    """Wait until all workers have left; return findings of those that have not."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            while fleet.machines:  # noqa: ASYNC110  # no event tells of it, and the wait costs nothing
                await asyncio.sleep(0.1)  # virtual
    except TimeoutError:
        return [f"worker {name} has not left" for name in fleet.machines]
    return []


def _end(loop: VirtualLoop, network: Network) -> None:
    """End all tasks, also those of machines that have ended: nobody may run their clean-up later."""
    network.close()
    for machine in loop.machines:
        machine.revive()
    for _ in range(CLEANUPS_MAX):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    raise RuntimeError(f"tasks that do not end: {asyncio.all_tasks(loop)}")
