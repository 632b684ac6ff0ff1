"""An example's app that watches its own steps, and kills its worker: `KILLS_EXAMPLE`, `KILLS_POINT`, `KILLS_LOG`.

Each start of a step's function or of a graph's node asks Redis, over a connection of its own, whether that step is
stored already, and writes the answer to the log. The worker and its supervisor end by SIGKILL when jobs of the present
batch have reached the point a number of times. A zygote imports this module, and its forks read the point.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import random
import signal
import sys
import threading
from contextvars import ContextVar

from agentpool_core.jobs import PoolRef, StepOutcome
from agentpool_core.queue import Inspector, connect
from agentpool_worker.durable.journal import Journal
from agentpool_worker.durable.steps import Steps, run_once

FOLDER, MODULE = os.environ["KILLS_EXAMPLE"].split("/")
MOST_PAUSE_SECONDS = 0.03  # before the function of a step, and of a kill at random behind its beginning
POOL = PoolRef.parse(os.environ["KILLS_POOL"])
present_job: ContextVar[str] = ContextVar("present_job", default="")
passed: list[str] = []  # jobs at the point


@functools.cache
def point() -> tuple[str, str, str, int]:
    """Return the point of this fork: the beginning of the jobs' ids, kind, step, and how often it is reached."""
    batch, kind, step, times = json.loads(os.environ["KILLS_POINT"])
    return batch, kind, step, times


def note(what: str, job: str, step: str) -> None:
    """Append a line; short writes to a file opened for appending do not mix."""
    file = os.open(os.environ["KILLS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, json.dumps({"what": what, "job": job, "step": step}).encode() + b"\n")
    os.close(file)


def kill(job: str, step: str) -> None:
    """End the supervisor and this process."""
    note(f"killed {point()[1]}", job, step)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def at(kind: str, job: str, step: str) -> None:
    """Kill at this point if the point is the planned one."""
    batch, planned, place, times = point()
    if job.startswith(batch) and kind == planned and step == place:
        passed.append(job)
        if len(passed) == times:
            kill(job, step)


async def begin(job: str, step: str, task: str = "") -> None:
    """Write whether a step that begins is stored already; at random, kill a little later."""
    client = connect(os.environ["KILLS_REDIS"])
    try:
        record = await Inspector(client).job(POOL, job)
    finally:
        await client.aclose()
    stored = any(
        each.outcome is StepOutcome.SUCCEEDED
        and (
            (isinstance(each.result, dict) and each.result.get("task") == task and each.result["segment"] is None)
            if task
            else each.name == step
        )
        for each in record.steps
    )
    note("repeated" if stored else "begun", job, step)
    batch, planned, _, times = point()
    if planned == "random" and job.startswith(batch):
        passed.append(job)
        if len(passed) == times:
            threading.Timer(random.uniform(0, MOST_PAUSE_SECONDS), kill, (job, "")).start()
    await asyncio.sleep(random.uniform(0, MOST_PAUSE_SECONDS))
    at("during", job, step)


def watch_steps() -> None:
    """Watch the functions of steps, and the confirmed writes of the journal."""
    run, write = Steps.run, Journal.write

    async def watched_run(self, call, function, options):
        job = self.journal.lease.job_id
        present_job.set(job)

        async def watched():
            await begin(job, call.name)
            return await run_once(function)

        return await run(self, call, watched, options)

    async def watched_write(self, step):
        await write(self, step)
        at("after", self.lease.job_id, step.name)

    Steps.run, Journal.write = watched_run, watched_write
    if os.environ.get("KILLS_FORGET"):  # a worker that forgets its steps, which the checker must find

        async def forget(self):
            return None

        Journal._read = forget


def watch_nodes(example) -> None:
    """Watch the nodes of a graph, by the callbacks of its framework."""
    from langchain_core.callbacks import AsyncCallbackHandler

    class Nodes(AsyncCallbackHandler):
        raise_error = True

        async def on_chain_start(self, serialized, inputs, *, metadata=None, name=None, **_):
            if name is not None and name == (metadata or {}).get("langgraph_node"):
                task = metadata["langgraph_checkpoint_ns"].rpartition(":")[2]
                await begin(present_job.get(), f"node {name}", task)

    example.graph = example.graph.with_config(callbacks=[Nodes()])


watch_steps()
sys.path.insert(0, f"{os.environ['KILLS_EXAMPLES']}/{FOLDER}")
example = importlib.import_module(MODULE)
if hasattr(example, "graph"):
    watch_nodes(example)
app = example.app
