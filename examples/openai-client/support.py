"""A loop of model and tools with the plain OpenAI client, which survives the loss of its worker.

    python model_server.py agentpool worker support:app --redis redis://localhost:6379/0 --pool default/support
    agentpool submit support '{"question": "Where is order 7?"}' --pool default/support

`examples/model-server/model_server.py` is the model. With a key of your own, leave it out, and set SUPPORT_MODEL.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI

from agentpool_worker import App
from agentpool_worker.adapters.openai import durable

if TYPE_CHECKING:
    from agentpool_worker import Context

app = App()
MODEL = os.environ.get("SUPPORT_MODEL", "gpt-5")
TOOL_SECONDS = float(os.environ.get("TOOL_SECONDS", "0"))  # how long each tool pretends to work


async def search(topic: str) -> str:
    """Find pages about a topic."""
    await asyncio.sleep(TOOL_SECONDS)
    return f"3 pages about {topic}"


async def read(page: int) -> str:
    """Read a page."""
    await asyncio.sleep(TOOL_SECONDS)
    return f"page {page}"


def described(function: Any, name: str, kind: str) -> Any:
    """Return the description of a tool with one argument."""
    parameters = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    description = {"name": function.__name__, "description": function.__doc__, "parameters": parameters}
    return {"type": "function", "function": description}


TOOLS = [described(search, "topic", "string"), described(read, "page", "integer")]


@app.handler("support")
async def support(payload: dict[str, Any], ctx: Context) -> str:
    """Answer a question with the help of tools. Payload: the question."""
    messages: list[Any] = [{"role": "user", "content": payload["question"]}]
    async with AsyncOpenAI() as plain:
        client = durable(plain, ctx)
        while True:
            reply = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
            message = reply.choices[0].message
            if not message.tool_calls:
                return (message.content or "").strip()
            messages.append(message.model_dump(exclude_none=True))
            messages += await client.run_tools(message, {"search": search, "read": read})
