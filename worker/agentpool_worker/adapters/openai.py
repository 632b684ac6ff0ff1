"""Plain OpenAI client: each request, and each call of a tool that a message asks for, is a durable step of the job.

    @app.handler("answer")
    async def answer(payload, ctx):
        client = durable(AsyncOpenAI(), ctx)           # instead of AsyncOpenAI()
        reply = await client.chat.completions.create(model="gpt-5", messages=messages, tools=tools)
        messages += await client.run_tools(reply.choices[0].message, {"search": search})

Requests have the arguments and the results of the client: `chat.completions.create`, `responses.create`,
`embeddings.create`. Any server with these interfaces works. Chat and responses are requested as streams, and their text
goes to the job's output; `stream=False` of `durable` is for a server that cannot stream. Tested with openai 3.57.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from typing import TYPE_CHECKING, Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response, ResponseUsage

from agentpool_worker.adapters.calls import Codec, DurableCalls, EntryPoints, usage_report
from agentpool_worker.exceptions import Permanent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessage
    from openai.types.chat.chat_completion_message_function_tool_call import Function
    from pydantic import BaseModel

    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.context import Context
    from agentpool_worker.durable.steps import StepOptions

_ENDS = ("response.completed", "response.incomplete", "response.failed")


def durable(
    client: AsyncOpenAI,
    ctx: Context,
    *,
    name: str = "",
    stream: bool = True,
    options: StepOptions | None = None,
) -> DurableClient:
    """Return the client with durable requests in this job.

    `name`: begins the names of the steps, where several agents run at once. `stream`: emit the model's text to the
    job's output as it comes. `options`: retries and timeout of each step.
    """
    return DurableClient(client, DurableCalls(ctx=ctx, name=name, stream=stream, options=options))


class DurableClient(EntryPoints):
    """A client within one attempt at a job."""

    _remedy = 'call the client itself in a step, such as `await ctx.step("draw", draw)`'

    def __init__(self, client: AsyncOpenAI, calls: DurableCalls) -> None:
        self._calls = calls
        self.chat = _Chat(client, calls)
        self.responses = _Responses(client, calls)
        self.embeddings = _Embeddings(client, calls)

    async def run_tools(
        self, message: ChatCompletionMessage, tools: Mapping[str, Callable[..., Any]]
    ) -> list[dict[str, Any]]:
        """Run the tools that a message asks for, at once, and return the messages with their results.

        `tools`: sync or async functions by name. A mistake of the model, such as an unknown tool, is a result that the
        model reads; an error of a tool raises StepFailedError.
        """
        calls = [call for call in message.tool_calls or () if call.type == "function"]
        results = await asyncio.gather(*(self._run_tool(call.id, call.function, tools) for call in calls))
        return [
            {"role": "tool", "tool_call_id": call.id, "content": result}
            for call, result in zip(calls, results, strict=True)
        ]

    async def _run_tool(self, call_id: str, wanted: Function, tools: Mapping[str, Callable[..., Any]]) -> str:
        if (function := tools.get(wanted.name)) is None:
            return f"there is no tool {wanted.name!r}"
        try:
            arguments = json.loads(wanted.arguments or "{}")
            inspect.signature(function).bind(**arguments)
        except (ValueError, TypeError) as error:
            return f"the arguments do not fit: {error}"
        result = await self._calls.tool(wanted.name, call_id, functools.partial(function, **arguments))
        return result if isinstance(result, str) else json.dumps(result)


class _Resource(EntryPoints):
    """Requests of one kind."""

    _remedy = "use `create`, whose text goes to the job's output, or call the client itself in a step"

    def __init__(self, client: AsyncOpenAI, calls: DurableCalls) -> None:
        self._client = client
        self._calls = calls

    async def _request(
        self, ask: Callable[[], Awaitable[Any]], kind: type[BaseModel], keywords: Any, operation: str = "chat"
    ) -> Any:
        if keywords.get("stream"):
            raise Permanent("stream=True: the text goes to the job's output by itself; leave the argument out")
        codec = Codec(
            write=lambda response: response.to_dict(mode="json"),
            read=lambda fields: kind.model_construct(**fields),
            used=_used,
        )
        return await self._calls.model(ask, codec, operation=operation)


class _Completions(_Resource):
    """`client.chat.completions`."""

    async def create(self, **keywords: Any) -> ChatCompletion:
        """Return a completion, from the store if an earlier attempt has it."""

        async def ask() -> Any:
            create = self._client.chat.completions.create
            return await (self._streamed(keywords) if self._calls.stream else create(**keywords))

        completion: ChatCompletion = await self._request(ask, ChatCompletion, keywords)
        return completion

    async def _streamed(self, keywords: dict[str, Any]) -> Any:
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        wanted = {"stream_options": {"include_usage": True}} | keywords
        async with await self._client.chat.completions.create(**wanted, stream=True) as chunks:
            async for chunk in chunks:
                state.handle_chunk(chunk)
                for choice in chunk.choices[:1]:
                    await self._calls.emit(choice.delta.content)
        return state.get_final_completion()


class _Chat:
    """`client.chat`."""

    def __init__(self, client: AsyncOpenAI, calls: DurableCalls) -> None:
        self.completions = _Completions(client, calls)


class _Responses(_Resource):
    """`client.responses`."""

    async def create(self, **keywords: Any) -> Response:
        """Return a response, from the store if an earlier attempt has it."""

        async def ask() -> Any:
            create = self._client.responses.create
            return await (self._streamed(keywords) if self._calls.stream else create(**keywords))

        response: Response = await self._request(ask, Response, keywords)
        return response

    async def _streamed(self, keywords: dict[str, Any]) -> Any:
        async with await self._client.responses.create(**keywords, stream=True) as events:
            async for event in events:
                if event.type == "response.output_text.delta":
                    await self._calls.emit(event.delta)
                elif event.type in _ENDS:
                    return event.response
        raise RuntimeError("the stream of the model ended without a response")


class _Embeddings(_Resource):
    """`client.embeddings`."""

    async def create(self, **keywords: Any) -> CreateEmbeddingResponse:
        """Return embeddings, from the store if an earlier attempt has them."""
        embeddings: CreateEmbeddingResponse = await self._request(
            lambda: self._client.embeddings.create(**keywords), CreateEmbeddingResponse, keywords, "embeddings"
        )
        return embeddings


def _used(response: Any) -> UsageReport:
    """Return the usage of a response; servers that are only compatible may leave it out."""
    usage, model = getattr(response, "usage", None), getattr(response, "model", None)
    if isinstance(usage, ResponseUsage):
        return usage_report(model, usage.input_tokens, usage.output_tokens)
    return usage_report(model, getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0))


__all__ = ("DurableClient", "durable")
