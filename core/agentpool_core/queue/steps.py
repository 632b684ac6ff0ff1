"""Read the durable steps of a job from its hash: with results for a worker, without results for a record.

A worker writes steps through `Consumer.record_steps`; `codec/layout.py` has the text of a step. An unreadable step is
left out: the worker runs the step again, and the remaining steps are not affected. Without a readable number of steps
the list is empty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.queue.codec.json_text import UndecodableError, decode
from agentpool_core.queue.codec.layout import read_number, read_step
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading

if TYPE_CHECKING:
    from agentpool_core.jobs import Step
    from agentpool_core.queue.connection.client import RedisClient

MAX_STEPS = 10_000  # of a job
PAGE_STEPS = 200  # read in one command


async def stored_steps(redis: RedisClient, key: str, *, with_results: bool) -> list[Step]:
    """Return the steps in the hash of a job, by number."""
    last = await ask(redis, "HMGET", key, "steps")
    with Reading("hmget"):
        count = min(read_number(last[0] or "") or 0, MAX_STEPS)
    found: list[Step] = []
    for first in range(1, count + 1, PAGE_STEPS):
        numbers = range(first, min(first + PAGE_STEPS, count + 1))
        found += await _page(redis, key, numbers, with_results=with_results)
    return found


async def _page(redis: RedisClient, key: str, numbers: range, *, with_results: bool) -> list[Step]:
    fields = [f"step:{number}" for number in numbers]
    if with_results:
        fields += [f"out:{number}" for number in numbers]
    values = await ask(redis, "HMGET", key, *fields)
    with Reading("hmget"):
        texts, results = values[: len(numbers)], values[len(numbers) :] or [None] * len(numbers)
        pairs = zip(numbers, texts, results, strict=True)
        steps = [_step(number, text or "", result) for number, text, result in pairs]
    return [step for step in steps if step is not None]


def _step(number: int, text: str, result: str | None) -> Step | None:
    step = read_step(number, text)
    if step is None or result is None:
        return step
    try:
        return replace(step, result=decode(result))
    except UndecodableError:
        return None
