"""The adapter of Pydantic AI, with its deterministic models and the test kit: no network, no Redis."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import pytest
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel

from agentpool_worker.adapters.pydantic_ai import durable
from agentpool_worker.testing import JobUnderTest

EXAMPLE = Path(__file__).parents[3] / "examples" / "pydantic-agent"
STEPS = ["model", "tool search call-0", "model#2", "tool read call-1", "model#3", "~wait:approval", "publish"]
ARTICLE = {"published": "An article from 3 pages about queues and page 2."}


@pytest.fixture
def writer(monkeypatch):
    """The example, and how often each of its tools and its model ran."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sys.modules.pop("writer", None)
    return importlib.import_module("writer")


async def ended(writer, *, tool_seconds=0.0, **kills):
    """The example's job, with its approval."""
    job = JobUnderTest(writer.article, {"topic": "queues", "tool_seconds": tool_seconds})
    await job.run(**kills)
    job.signal("approval", {"approved": True})
    await job.run(**kills)
    return job


async def test_an_agent_runs_as_durable_steps(writer):
    """Requests and tool calls are steps, and the answer is streamed word by word."""
    job = await ended(writer)
    assert (job.state, job.result) == ("succeeded", ARTICLE)
    assert [step.name for step in job.steps] == STEPS
    assert "".join(job.output).strip() == ARTICLE["published"]
    assert [(used.model, used.output_tokens > 0) for used in job.usage] == [("function::pretend", True)] * 3


@pytest.mark.parametrize("kill", ["kill_after", "kill_during"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_any_step_changes_no_result(writer, step, kill):
    """The kill matrix: no committed step runs twice, and the result is that of the undisturbed run."""
    job = await ended(writer, **{kill: [step]})
    assert (job.state, job.result) == ("succeeded", ARTICLE)
    assert [each.name for each in job.steps] == STEPS


async def test_a_kill_at_every_step_of_one_job_repeats_no_tool(monkeypatch, writer):
    """Each run gets one step further; the tools and the model run once each."""
    calls = []
    original = writer.asyncio.sleep

    async def counted(seconds):
        calls.append(seconds)
        await original(0)

    monkeypatch.setattr(writer.asyncio, "sleep", counted)
    job = await ended(writer, tool_seconds=12.5, kill_after=STEPS)
    assert job.result == ARTICLE
    assert calls.count(12.5) == 2
    assert job.runs >= len(STEPS)


async def test_tools_that_run_at_once_are_steps_of_their_own():
    """A model that cannot stream works without; a tool's ModelRetry is stored, and reaches the model in every run."""
    asked = []

    def model(messages, _info):
        asked.append(1)
        answers = [part for part in messages[-1].parts if part.part_kind != "user-prompt"]
        if answers:
            return ModelResponse(parts=[TextPart(" ".join(str(part.content) for part in answers))])
        return ModelResponse(parts=[ToolCallPart("double", {"n": n}, tool_call_id=f"c{n}") for n in (1, 2, 3)])

    agent = Agent(FunctionModel(model))
    ran = []

    @agent.tool_plain
    async def double(n: int) -> int:
        ran.append(n)
        if n == 3:
            raise ModelRetry("not three")
        return n * 2

    async def handler(payload, ctx):
        return (await durable(agent, ctx, stream=False).run("go")).output

    job = JobUnderTest(handler)
    assert await job.run(kill_after=["tool double c3", "model#2"]) == "succeeded", job.error
    assert job.result == "2 4 not three"
    assert sorted(ran) == [1, 2, 3]
    assert len(asked) == 2
    assert sorted(step.name for step in job.steps) == [
        "model", "model#2", "tool double c1", "tool double c2", "tool double c3"
    ]  # fmt: skip


async def two_writers(payload, ctx):
    """Two agents at once, each with a name if the payload is true; the second is slower with every second request."""

    def agent(name):
        async def model(messages, _info):
            for _ in range(50 * (name == "second" and len(messages) % 4 == 1)):
                await asyncio.sleep(0)
            if len(messages) < 7:
                return ModelResponse(parts=[ToolCallPart("look", tool_call_id=f"{name}-{len(messages)}")])
            return ModelResponse(parts=[TextPart(f"{name} has {len(messages)} messages")])

        agent = Agent(FunctionModel(model))
        agent.tool_plain(look)
        return durable(agent, ctx, name=name if payload else "", stream=False)

    async def look() -> str:
        return "a page"

    answers = await asyncio.gather(*(agent(name).run("go") for name in ("first", "second")))
    return [answer.output for answer in answers]


async def test_agents_that_run_at_once_have_names():
    """With names a kill at any step changes no result; without, the first attempt fails with the remedy."""
    calm = JobUnderTest(two_writers, True)
    assert await calm.run() == "succeeded", calm.error
    steps = [step.name for step in calm.steps]
    for kills in ({"kill_after": steps}, {"kill_during": steps}):
        job = JobUnderTest(two_writers, True)
        assert await job.run(**kills) == "succeeded", job.error
        assert job.result == ["first has 7 messages", "second has 7 messages"]
        assert sorted(step.name for step in job.steps) == sorted(steps)
    unnamed = JobUnderTest(two_writers, False)
    assert await unnamed.run() == "failed"
    assert "durable(…, name=…)" in unnamed.error


async def test_the_agent_itself_stays_as_it_was():
    """Outside of the run it has its own model and tools; another model may be given for one run."""
    agent = Agent(TestModel(custom_output_text="first"))

    async def handler(payload, ctx):
        first = await durable(agent, ctx).run("x")
        second = await durable(agent, ctx).run("x", model=TestModel(custom_output_text="second"))
        return [first.output, second.output]

    job = JobUnderTest(handler)
    await job.run()
    assert job.result == ["first", "second"]
    assert (await agent.run("x")).output == "first"
