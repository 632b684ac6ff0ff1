"""Read the durable steps of a job from its hash: with results for a worker, without results for a record.

A worker writes steps through `Consumer.record_steps`; `codec/layout.py` has the text of a step. An unreadable step is
left out: the worker runs the step again, and the remaining steps are not affected. Without a readable number of steps
the list is empty. A wait for a signal is a step too; the name begins with `WAIT`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.jobs import SignalWait, StepOutcome
from agentpool_core.queue.codec.json_text import UndecodableError, decode
from agentpool_core.queue.codec.layout import read_number, read_step
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Json, Step
    from agentpool_core.queue.connection.client import RedisClient

MAX_STEPS = 10_000  # of a job
PAGE_STEPS = 200  # read in one command
PAGE_WAITS = 20  # likewise, with the values of their signals
WAIT = "~wait:"  # begins the name of a wait for a signal


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


async def waits_of(redis: RedisClient, key: str, steps: Sequence[Step]) -> list[SignalWait]:
    """Return the waits for a signal among the steps of a job, without those that cannot be read."""
    found: list[SignalWait] = []
    waits = [step for step in steps if step.name.startswith(WAIT)]
    for first in range(0, len(waits), PAGE_WAITS):
        page = waits[first : first + PAGE_WAITS]
        values = await ask(redis, "HMGET", key, *(f"out:{step.number}" for step in page))
        with Reading("hmget"):
            pairs = [_wait(step, text or "") for step, text in zip(page, values, strict=True)]
        found += [wait for wait in pairs if wait is not None]
    return found


async def open_question(redis: RedisClient, key: str, steps: Sequence[Step]) -> Json:
    """Return the question of a waiting job: of the first of its open waits that has one."""
    waits = await waits_of(redis, key, [step for step in steps if step.outcome is StepOutcome.WAITING])
    return next((wait.question for wait in waits if wait.question is not None), None)


def _wait(step: Step, text: str) -> SignalWait | None:
    try:
        record = decode(text)
    except UndecodableError:
        return None
    if not isinstance(record, dict):
        return None
    return SignalWait(
        signal=step.name.removeprefix(WAIT).partition("#")[0],
        question=record.get("question"),
        answered=step.outcome is StepOutcome.SUCCEEDED,
        value=record.get("value"),
        began_at_ms=step.started_at_ms,
        ended_at_ms=None if step.outcome is StepOutcome.WAITING else step.started_at_ms + step.duration_ms,
    )
