"""An agent of the OpenAI Agents SDK that survives the loss of its worker.

    python model_server.py agentpool worker researcher:app --redis redis://localhost:6379/0 --pool default/researcher
    agentpool submit research '{"question": "How do queues work?"}' --pool default/researcher

`examples/model-server/model_server.py` is the model. With a key of your own, leave it out, and set RESEARCH_MODEL.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from agents import Agent, function_tool, set_default_openai_api, set_tracing_disabled

from agentpool_worker import App
from agentpool_worker.adapters.openai_agents import durable

if TYPE_CHECKING:
    from agentpool_worker import Context

app = App()
MODEL = os.environ.get("RESEARCH_MODEL", "gpt-5")
TOOL_SECONDS = float(os.environ.get("TOOL_SECONDS", "0"))  # how long each tool pretends to work
set_default_openai_api("chat_completions")  # the interface of the pretended model
set_tracing_disabled(True)


@function_tool
async def search(topic: str) -> str:
    """Find pages about a topic."""
    await asyncio.sleep(TOOL_SECONDS)
    return f"3 pages about {topic}"


@function_tool
async def read(page: int) -> str:
    """Read a page."""
    await asyncio.sleep(TOOL_SECONDS)
    return f"page {page}"


agent = Agent(name="researcher", instructions="Search, read, then answer.", model=MODEL, tools=[search, read])


@app.handler("research")
async def research(payload: dict[str, Any], ctx: Context) -> str:
    """Answer a question. Payload: the question."""
    result = await durable(agent, ctx).run(payload["question"])
    return str(result.final_output).strip()
