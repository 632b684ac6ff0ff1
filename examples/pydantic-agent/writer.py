"""A Pydantic AI agent that survives the loss of its worker, waits for an approval, and streams its answer.

    agentpool worker writer:app --redis redis://localhost:6379/0 --pool default/writer
    agentpool submit article '{"topic": "queues"}' --pool default/writer

The model is a small function, so that the example runs without a network and without a key. With WRITER_MODEL, such as
`openai:gpt-5`, a real model takes its place.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

from agentpool_worker import App, Permanent
from agentpool_worker.adapters.pydantic_ai import durable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models.function import AgentInfo

    from agentpool_worker import Context

app = App()


async def pretend(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
    """Ask for each tool once, and then write an answer word by word, as a model would."""
    facts = [str(part.content) for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    tools = (("search", '{"topic": "queues"}'), ("read", '{"page": 2}'))
    if len(facts) < len(tools):
        name, arguments = tools[len(facts)]
        yield {0: DeltaToolCall(name=name, json_args=arguments, tool_call_id=f"call-{len(facts)}")}
        return
    for word in f"An article from {' and '.join(facts)}.".split(" "):
        yield f"{word} "


agent = Agent(os.environ.get("WRITER_MODEL") or FunctionModel(stream_function=pretend), deps_type=float)


@agent.tool
async def search(run: RunContext[float], topic: str) -> str:
    """Find pages about a topic."""
    await asyncio.sleep(run.deps)
    return f"3 pages about {topic}"


@agent.tool
async def read(run: RunContext[float], page: int) -> str:
    """Read a page."""
    await asyncio.sleep(run.deps)
    return f"page {page}"


@app.handler("article")
async def article(payload: dict[str, Any], ctx: Context) -> dict[str, str]:
    """Write an article, wait up to a day for an approval, and publish the article.

    Payload: the topic, and how many seconds each tool pretends to work.
    """
    prompt = f"Write an article about {payload['topic']}."
    result = await durable(agent, ctx).run(prompt, deps=payload.get("tool_seconds", 0.0))
    decision = await ctx.wait_for("approval", timeout=timedelta(days=1))
    if not decision["approved"]:
        raise Permanent("the article was refused")
    published: dict[str, str] = await ctx.step("publish", publish, result.output)
    return published


def publish(text: str) -> dict[str, str]:
    """Publish the article; here, only return it."""
    return {"published": text.strip()}
