"""The adapter of LangGraph, with its fake models and the test kit: no network, no Redis."""

from __future__ import annotations

import operator
import sys
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.channels import DeltaChannel
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from agentpool_worker.adapters.langgraph import durable
from agentpool_worker.testing import JobUnderTest
from tests.fixtures.model_server import load_example

NODES = ["node plan", "node search", "node search#2", "node write", "node review"]
STEPS = [*NODES, "graph", "~wait:approval", "node publish", "graph#2"]
TEXT = "An article from 3 facts about queues and order; 3 facts about queues and speed."


@pytest.fixture
def editor():
    """The example."""
    yield load_example("langgraph-agent", "editor")
    del sys.modules["editor"]


class State(TypedDict, total=False):
    """A list of what nodes have done."""

    done: Annotated[list[str], operator.add]


def chain(**nodes) -> StateGraph:
    """Nodes one after the other."""
    builder = StateGraph(State)
    names = list(nodes)
    for name, function in nodes.items():
        builder.add_node(name, function)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder


def job_of(graph, **options) -> JobUnderTest:
    """A job whose handler runs the graph, and returns what was done."""

    async def handler(payload, ctx):
        return (await durable(graph, ctx, **options).ainvoke({"done": ["in"]}))["done"]

    return JobUnderTest(handler)


@pytest.mark.parametrize("kill", [None, "kill_after", "kill_during"])
async def test_the_example_survives_a_kill_at_every_step(editor, kill):
    """Nodes are steps, the interrupt waits for a signal, the text is streamed, and kills change no result."""
    kills = {kill: STEPS} if kill else {}
    job = JobUnderTest(editor.edit, {"topic": "queues"})
    assert await job.run(**kills) == "waiting", job.error
    assert job.waits_for == ("approval",)
    job.signal("approval", {"approved": True})
    assert await job.run(**kills) == "succeeded", job.error
    assert job.result == f"Published: {TEXT}"
    assert [step.name for step in job.steps if step.name not in {"~task:graph", "~state:graph"}] == STEPS
    assert "".join(job.output) == TEXT * (2 if kill == "kill_during" else 1)
    assert job.runs >= (len(STEPS) if kill else 2)


async def test_no_approval_in_time_is_a_failure_and_a_refusal_an_end(editor):
    """The `timeout` of the adapter bounds the wait for the approval."""

    async def handler(payload, ctx):
        return await durable(editor.graph, ctx, signal="approval", timeout=60).ainvoke({"topic": "queues"})

    late, refused = JobUnderTest(handler, max_attempts=1), JobUnderTest(handler)
    assert await late.run() == await refused.run() == "waiting"
    late.advance(timedelta(minutes=2))
    assert await late.run() == "failed"
    assert "did not come within the timeout" in late.error
    refused.signal("approval", {"approved": False})
    assert await refused.run() == "succeeded"
    assert refused.result["text"] == TEXT


async def test_a_finished_node_does_not_run_again():
    """Of two nodes at once, the node that had failed runs again, and the finished node does not."""
    ran = []

    async def left(state):
        ran.append("left")
        return {"done": ["left"]}

    async def right(state):
        ran.append("right")
        if ran.count("right") == 1:
            raise OSError("no route")
        return {"done": ["right"]}

    builder = StateGraph(State)
    for node in (left, right):
        builder.add_node(node)
        builder.add_edge(START, node.__name__)
        builder.add_edge(node.__name__, END)
    job = job_of(builder.compile())
    assert await job.run() == "succeeded", job.error
    assert job.result == ["in", "left", "right"]
    assert (sorted(ran), job.attempt) == (["left", "right", "right"], 2)


@pytest.mark.parametrize("kills", [{}, {"kill_after": ["node ask", "graph#2"]}, {"kill_during": ["node ask", "graph"]}])
async def test_each_interrupt_gets_the_next_answer(kills):
    """Two interrupts of a node, one in a subgraph, and a breakpoint: each answer goes to its own, through kills."""

    async def ask(state):
        return {"done": [interrupt("first?"), interrupt("second?")]}

    async def deep(state):
        return {"done": [interrupt({"deep": True})]}

    async def last(state):
        return {"done": ["last"]}

    async def inner(state):
        return {"done": ["inner"]}

    subgraph = chain(inner=inner, deep=deep).compile()
    graph = chain(ask=ask, sub=subgraph, last=last).compile(interrupt_before=["last"])
    job = job_of(graph, signal=lambda value: "go" if "next" in value else "answer")
    for signal, value in (("answer", "1"), ("answer", "2"), ("answer", "3"), ("go", None)):
        assert await job.run(**kills) == "waiting", job.error
        assert job.waits_for == (signal,)
        job.signal(signal, value)
    assert await job.run(**kills) == "succeeded", job.error
    assert job.result == ["in", "1", "2", "in", "1", "2", "inner", "3", "last"]  # a subgraph returns what it was given


async def test_interrupts_at_once_wait_for_an_answer_each():
    """The answers go to the nodes in the order of the nodes."""
    builder = StateGraph(State)
    for name in ("a", "b"):
        builder.add_node(name, lambda state, name=name: {"done": [f"{name}{interrupt(name)}"]})
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    job = job_of(builder.compile())
    for number in (1, 2):
        assert await job.run(kill_after=["graph"]) == "waiting", job.error
        job.signal("resume", number)
    assert await job.run(kill_during=["node b"]) == "succeeded", job.error
    assert job.result == ["in", "a1", "b2"]


async def test_chat_models_stream_and_report_usage_and_nodes_write():
    """Tokens come before the end of their node; a model that only answers whole is asked so with `stream=False`."""
    used = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}

    async def write(state):
        get_stream_writer()({"stage": "writing"})
        answer = AIMessage("Hello world", usage_metadata=used, response_metadata={"model_name": "fake"})
        reply = await GenericFakeChatModel(messages=iter([answer])).ainvoke("hi")
        return {"done": [reply.content]}

    job = job_of(chain(write=write).compile())
    assert await job.run() == "succeeded", job.error
    assert job.result == ["in", "Hello world"]
    assert [each for each in job.output if isinstance(each, str)] == ["Hello", " ", "world"]
    assert {"stage": "writing"} in job.output
    silent = job_of(chain(write=write).compile(), stream=False)
    assert await silent.run() == "succeeded", silent.error
    assert silent.output == []
    assert len(silent.usage) == 1


async def test_two_runs_in_one_job_and_steps_between_them():
    """Each run has its own nodes; a step behind a graph is as durable as before."""
    graph = chain(one=lambda state: {"done": ["one"]}).compile()

    async def handler(payload, ctx):
        first = await durable(graph, ctx).ainvoke({"done": ["a"]})
        middle = await ctx.step("middle", lambda: "m")
        second = await durable(graph, ctx).ainvoke({"done": [middle]})
        return first["done"] + second["done"]

    job = JobUnderTest(handler)
    assert (
        await job.run(kill_after=["node one", "graph", "middle", "node one#2"], kill_during=["graph#2"]) == "succeeded"
    )
    assert job.result == ["a", "one", "m", "one"]


async def test_the_functional_api_has_durable_tasks():
    """A task of an entrypoint runs once."""
    ran = []

    @task
    async def double(n: int) -> int:
        ran.append(n)
        return 2 * n

    @entrypoint()
    async def program(n: int) -> Any:
        return await double(n) + await double(n + 1)

    async def handler(payload, ctx):
        return await durable(program, ctx).ainvoke(payload)

    job = JobUnderTest(handler, 3)
    assert await job.run(kill_after=["node double", "node double#2"]) == "succeeded", job.error
    assert job.result == 14
    assert ran == [3, 4]


async def test_a_step_inside_of_a_node_is_refused():
    """The nodes of a later attempt would mix up its name; the error says so."""

    async def handler(payload, ctx):
        async def node(state):
            return {"done": [await ctx.step("fetch", lambda: 1)]}

        await durable(chain(node=node).compile(), ctx).ainvoke({"done": []})

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert "a node is a step already" in job.error
    assert job.attempt == 1


async def test_a_delta_channel_is_refused():
    """Such a channel needs all earlier checkpoints."""

    class Deltas(TypedDict):
        done: Annotated[list[str], DeltaChannel(operator.add)]

    builder = StateGraph(Deltas)
    builder.add_node("node", lambda state: {"done": ["x"]})
    builder.add_edge(START, "node")
    job = job_of(builder.compile())
    assert await job.run() == "failed"
    assert "channel 'done': a DeltaChannel cannot be durable" in job.error
