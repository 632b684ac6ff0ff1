"""Calls of a framework that its adapter does not offer: a typed error with a remedy, at the access."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TypedDict

import agents
import pytest
from langgraph.graph import StateGraph
from openai import AsyncOpenAI
from pydantic_ai import Agent

from agentpool_worker.adapters import langgraph, openai, openai_agents, pydantic_ai
from agentpool_worker.exceptions import EntryPointError, Permanent


class State(TypedDict):
    text: str


def graph():
    builder = StateGraph(State)
    builder.add_node("write", lambda state: state)
    builder.set_entry_point("write")
    return builder.compile()


CTX = SimpleNamespace()
AGENT = "use `await durable(agent, ctx).run(…)`"
GRAPH = "use `await durable(graph, ctx).ainvoke(…)`"
CASES = [
    *((lambda: pydantic_ai.durable(Agent("test"), CTX), name, AGENT) for name in ("run_sync", "run_stream", "iter")),
    *((lambda: openai_agents.durable(agents.Agent("a"), CTX), name, AGENT) for name in ("run_sync", "run_streamed")),
    *((lambda: langgraph.durable(graph(), CTX), name, GRAPH) for name in ("invoke", "astream", "stream", "abatch")),
    (lambda: openai.durable(AsyncOpenAI(api_key="k"), CTX), "images", "call the client itself in a step"),
    (lambda: openai.durable(AsyncOpenAI(api_key="k"), CTX).responses, "stream", "use `create`"),
    (lambda: openai.durable(AsyncOpenAI(api_key="k"), CTX).chat.completions, "parse", "use `create`"),
]


@pytest.mark.parametrize(("made", "name", "remedy"), CASES, ids=[f"{case[1]}-{n}" for n, case in enumerate(CASES)])
def test_a_call_that_would_not_be_durable_is_refused(made, name, remedy):
    """The job fails for good with the remedy; a program that asks first learns that the call is not there."""
    durable = made()
    with pytest.raises(EntryPointError, match=rf"durable\(…\)\.{name}: the adapter does not offer it; ") as refused:
        getattr(durable, name)
    assert remedy in str(refused.value)
    assert isinstance(refused.value, Permanent)
    assert not hasattr(durable, name)
    with pytest.raises(AttributeError, match=r"^_private$"):
        _ = durable._private
