"""Pydantic AI: each request to the model and each call of a tool is a durable step of the job.

    agent = Agent("openai:gpt-5", tools=[search])          # unchanged

    @app.handler("research")
    async def research(payload, ctx):
        result = await durable(agent, ctx).run(payload["question"])    # instead of agent.run(…)
        return result.output

The names of the steps are `model`, `model#2`, … and `tool NAME CALL`. The text of the model goes to the job's output as
it comes; `stream=False` is for a model that cannot stream. `ModelRetry` of a tool is stored in its step. Tested with
pydantic-ai 2.68.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.messages import ModelResponse, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.toolsets import WrapperToolset
from pydantic_core import to_jsonable_python

from agentpool_worker.adapters.calls import Codec, DurableCalls, EntryPoints, usage_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model, ModelRequestParameters
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import RunContext
    from pydantic_ai.toolsets import ToolsetTool

    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.context import Context
    from agentpool_worker.durable.steps import StepOptions

Deps = TypeVar("Deps")
Output = TypeVar("Output")


class DurableAgent(EntryPoints, Generic[Deps, Output]):
    """An agent within one attempt at a job."""

    _remedy = "use `await durable(agent, ctx).run(…)`: the text goes to the job's output as it comes"

    def __init__(self, agent: Agent[Deps, Output], calls: DurableCalls) -> None:
        self._agent = agent
        self._calls = calls

    async def run(self, *args: Any, **keywords: Any) -> Any:
        """Run the agent, as `Agent.run` does, with the same arguments and the same result."""
        with self._calls.run(), self._durable_parts(keywords.pop("model", None)):
            return await self._agent.run(*args, **keywords)

    @contextlib.contextmanager
    def _durable_parts(self, model: Any) -> Iterator[None]:
        durable_model = _Model(model or self._agent.model, self._calls)
        toolsets = [_Toolset(each, self._calls) for each in self._agent.toolsets]
        with self._agent.override(model=durable_model, toolsets=toolsets, tools=[]):
            yield


def durable(
    agent: Agent[Deps, Output],
    ctx: Context,
    *,
    name: str = "",
    stream: bool = True,
    options: StepOptions | None = None,
) -> DurableAgent[Deps, Output]:
    """Return the agent with durable steps in this job.

    `name`: begins the names of the steps, where several agents run at once. `stream`: emit the model's text to the
    job's output as it comes. `options`: retries and timeout of each step.
    """
    return DurableAgent(agent, DurableCalls(ctx=ctx, name=name, stream=stream, options=options))


class _Model(WrapperModel):
    """A model that runs each request as a step."""

    def __init__(self, wrapped: Model | Any, calls: DurableCalls) -> None:
        super().__init__(wrapped)
        self._calls = calls

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the response of the model, from the store if an earlier attempt has it."""

        async def ask() -> ModelResponse:
            answer = self._streamed if self._calls.stream else self.wrapped.request
            return await answer(messages, model_settings, model_request_parameters)

        return await self._calls.model(ask, _CODEC, provider=self.wrapped.system)

    async def _streamed(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> ModelResponse:
        async with self.wrapped.request_stream(messages, settings, parameters) as response:
            async for event in response:
                match event:
                    case PartStartEvent(part=TextPart(content=text)):
                        await self._calls.emit(text)
                    case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                        await self._calls.emit(text)
            return response.get()


@dataclass
class _Toolset(WrapperToolset[Any]):
    """Tools that run each call as a step."""

    calls: DurableCalls

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """Return the result of the tool, from the store if an earlier attempt has it. Raises ModelRetry."""

        async def call() -> dict[str, Any]:
            try:
                return {"result": to_jsonable_python(await self.wrapped.call_tool(name, tool_args, ctx, tool))}
            except ModelRetry as retry:
                return {"retry": retry.message}

        answer = await self.calls.tool(name, ctx.tool_call_id, call)
        if "retry" in answer:
            raise ModelRetry(answer["retry"])
        return answer["result"]


def _used(response: ModelResponse) -> UsageReport:
    """Return the usage of a response; its cost in US dollars, where the framework knows the prices of the model."""
    cost = 0.0
    with contextlib.suppress(AssertionError, LookupError, ValueError):
        cost = float(response.cost().total_price)
    return usage_report(response.model_name, response.usage.input_tokens, response.usage.output_tokens, cost)


_RESPONSE = TypeAdapter(ModelResponse)
_CODEC = Codec(write=partial(_RESPONSE.dump_python, mode="json"), read=_RESPONSE.validate_python, used=_used)


__all__ = ("DurableAgent", "durable")
