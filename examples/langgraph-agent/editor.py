"""A LangGraph agent that survives the loss of its worker, and waits for an approval without a slot.

    agentpool worker editor:app --redis redis://localhost:6379/0 --pool default/editor
    agentpool submit edit '{"topic": "queues"}' --pool default/editor
    agentpool signal JOB approval '{"approved": true}' --pool default/editor

The model is one of langchain-core's for tests, so that the example runs without a network and without a key.
"""

from __future__ import annotations

import asyncio
import operator
import os
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain_core.language_models import FakeListChatModel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from agentpool_worker import App
from agentpool_worker.adapters.langgraph import durable

if TYPE_CHECKING:
    from agentpool_worker import Context

app = App()
NODE_SECONDS = float(os.environ.get("NODE_SECONDS", "0"))  # how long each node pretends to work


class Article(TypedDict, total=False):
    """The state of the graph."""

    topic: str
    aspects: list[str]
    facts: Annotated[list[str], operator.add]
    text: str
    approved: bool


async def plan(state: Article) -> Article:
    """Choose the aspects of the topic."""
    await asyncio.sleep(NODE_SECONDS)
    return {"aspects": [f"{state['topic']} and {other}" for other in ("order", "speed")]}


def searches(state: Article) -> list[Send]:
    """Search for each aspect at once."""
    return [Send("search", aspect) for aspect in state["aspects"]]


async def search(aspect: str) -> Article:
    """Find facts about an aspect."""
    await asyncio.sleep(NODE_SECONDS)
    return {"facts": [f"3 facts about {aspect}"]}


async def write(state: Article) -> Article:
    """Write the article with a model, which streams its text."""
    model = FakeListChatModel(responses=[f"An article from {'; '.join(state['facts'])}."])
    reply = await model.ainvoke("Write an article.")
    return {"text": str(reply.content)}


async def review(state: Article) -> Article:
    """Ask a person for an approval."""
    answer: dict[str, Any] = interrupt({"publish": state["text"]})
    return {"approved": answer["approved"]}


async def publish(state: Article) -> Article:
    """Publish the article; here, only mark its text."""
    await asyncio.sleep(NODE_SECONDS)
    return {"text": f"Published: {state['text']}"}


builder = StateGraph(Article)
for node in (plan, search, write, review, publish):
    builder.add_node(node)
builder.add_edge(START, "plan")
builder.add_conditional_edges("plan", searches, ["search"])
builder.add_edge("search", "write")
builder.add_edge("write", "review")
builder.add_conditional_edges("review", lambda state: "publish" if state["approved"] else END, ["publish", END])
builder.add_edge("publish", END)
graph = builder.compile()


@app.handler("edit")
async def edit(payload: dict[str, Any], ctx: Context) -> str:
    """Write, review and publish an article. Payload: the topic."""
    result = await durable(graph, ctx, signal="approval").ainvoke({"topic": payload["topic"]})
    return str(result["text"])
