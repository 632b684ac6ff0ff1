"""OpenAI Agents SDK: each request to a model and each call of a function tool is a durable step of the job.

    agent = Agent(name="researcher", tools=[search])       # unchanged

    @app.handler("research")
    async def research(payload, ctx):
        result = await durable(agent, ctx).run(payload["question"])    # instead of Runner.run(agent, …)
        return result.final_output

The run uses copies of the agent and of the agents that it hands off to: `Agent.clone` with a model, tools and handoffs
that run as steps. An agent that is the tool of a different agent is one step. The text of the models goes to the job's
output. Tested with openai-agents 0.24.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents import (
    Agent,
    CodeInterpreterTool,
    FileSearchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    ImageGenerationTool,
    Model,
    ModelProvider,
    ModelResponse,
    RunConfig,
    Runner,
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    Usage,
    UserError,
    WebSearchTool,
)
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from agentpool_worker.adapters.calls import Codec, DurableCalls, EntryPoints, own_error, usage_report
from agentpool_worker.exceptions import Permanent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agents import RunContextWrapper, RunResult, Tool
    from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
    from agents.tool_context import ToolContext
    from openai.types.responses import ResponseStreamEvent

    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.context import Context
    from agentpool_worker.durable.steps import StepOptions

_RESPONSE = TypeAdapter(ModelResponse)
_HOSTED = (CodeInterpreterTool, FileSearchTool, HostedMCPTool, ImageGenerationTool, WebSearchTool)  # run in the request
_OUTPUTS = (ToolOutputFileContent, ToolOutputImage, ToolOutputText)


def durable(
    agent: Agent[Any],
    ctx: Context,
    *,
    name: str = "",
    stream: bool = True,
    options: StepOptions | None = None,
) -> DurableAgent:
    """Return the agent with durable steps in this job.

    `name`: begins the names of the steps, where several agents run at once. `stream`: emit the models' text to the
    job's output as it comes. `options`: retries and timeout of each step.
    """
    return DurableAgent(agent, DurableCalls(ctx=ctx, name=name, stream=stream, options=options))


class DurableAgent(EntryPoints):
    """An agent within one attempt at a job."""

    _remedy = "use `await durable(agent, ctx).run(…)`: the text goes to the job's output as it comes"

    def __init__(self, agent: Agent[Any], calls: DurableCalls) -> None:
        self._calls = calls
        self._agent = _Copies(calls).of(agent)

    async def run(self, input: Any, *, run_config: RunConfig | None = None, **keywords: Any) -> RunResult:  # noqa: A002
        """Run the agent, as `Runner.run` does, with the same arguments and the same result."""
        if keywords.get("session") is not None:
            raise Permanent("session: a session would record each attempt again; pass result.to_input_list() instead")
        config = run_config or RunConfig()
        config = dataclasses.replace(
            config,
            model=_Model(config.model, self._calls) if isinstance(config.model, Model) else config.model,
            model_provider=_Provider(config.model_provider, self._calls),
        )
        try:
            with self._calls.run():
                return await Runner.run(self._agent, input, run_config=config, **keywords)
        except UserError as error:
            if (ours := own_error(error)) is not None:
                raise ours from error
            raise


@dataclass
class _Copies:
    """Copies of agents with durable parts; agents may hand off to each other in circles."""

    calls: DurableCalls
    made: dict[int, Agent[Any]] = field(default_factory=dict)  # by id of the original

    def of(self, agent: Agent[Any]) -> Agent[Any]:
        """Return the copy of an agent. Raises Permanent for parts that cannot be steps."""
        if (known := self.made.get(id(agent))) is not None:
            return known
        if agent.mcp_servers:
            raise Permanent(f"agent {agent.name!r}: mcp_servers cannot be durable; call their tools in a function tool")
        model = _Model(agent.model, self.calls) if isinstance(agent.model, Model) else agent.model
        durable_agent = agent.clone(
            model=model, model_settings=agent.model_settings, tools=[self._tool(tool) for tool in agent.tools]
        )
        self.made[id(agent)] = durable_agent
        self.made[id(durable_agent)] = durable_agent
        durable_agent.handoffs = [
            self._handoff(target) if isinstance(target, Handoff) else self.of(target) for target in agent.handoffs
        ]
        return durable_agent

    def _tool(self, tool: Tool) -> Tool:
        if isinstance(tool, _HOSTED):
            return tool
        if not isinstance(tool, FunctionTool):
            raise Permanent(f"tool {tool.name!r}: a {type(tool).__name__} cannot be durable; use a function tool")
        durable_tool = copy.copy(tool)
        invoke = durable_tool.on_invoke_tool

        async def invoke_once(context: ToolContext[Any], arguments: str) -> Any:
            async def call() -> Any:
                return _json_of(await invoke(context, arguments))

            return await self.calls.tool(tool.name, context.tool_call_id, call)

        durable_tool.on_invoke_tool = invoke_once
        return durable_tool

    def _handoff(self, target: Handoff[Any, Any]) -> Handoff[Any, Any]:
        durable_handoff = copy.copy(target)
        invoke: Callable[[RunContextWrapper[Any], str], Any] = target.on_invoke_handoff

        async def hand_off(context: RunContextWrapper[Any], arguments: str) -> Agent[Any]:
            return self.of(await invoke(context, arguments))

        durable_handoff.on_invoke_handoff = hand_off
        return durable_handoff


class _Provider(ModelProvider):
    """A provider of models that run each request as a step."""

    def __init__(self, wrapped: ModelProvider, calls: DurableCalls) -> None:
        self._wrapped = wrapped
        self._calls = calls

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of this name."""
        return _Model(self._wrapped.get_model(model_name), self._calls)

    async def aclose(self) -> None:
        """Release what the provider holds."""
        await self._wrapped.aclose()


class _Model(Model):
    """A model that runs each request as a step."""

    def __init__(self, wrapped: Model, calls: DurableCalls) -> None:
        self._wrapped = wrapped
        self._calls = calls

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Return the advice of the model."""
        return self._wrapped.get_retry_advice(request)

    async def get_response(self, *request: Any, **keywords: Any) -> ModelResponse:
        """Return the response of the model, from the store if an earlier attempt has it."""

        async def ask() -> ModelResponse:
            if self._calls.stream:
                return await self._emitted(self._wrapped.stream_response(*request, **keywords))
            return await self._wrapped.get_response(*request, **keywords)

        codec = Codec(write=_as_json, read=_RESPONSE.validate_python, used=self._used)
        return await self._calls.model(ask, codec)

    def _used(self, response: ModelResponse) -> UsageReport:
        name = getattr(self._wrapped, "model", None)  # of models of the SDK; other models need not have a name
        name = name if isinstance(name, str) else None
        return usage_report(name, response.usage.input_tokens, response.usage.output_tokens)

    def stream_response(self, *_request: Any, **_keywords: Any) -> AsyncIterator[ResponseStreamEvent]:
        """Refuse: the text goes to the output of the job."""
        raise Permanent("run_streamed: an agent in a job streams to the job's output; use run, and ctx.emit")

    async def _emitted(self, events: AsyncIterator[ResponseStreamEvent]) -> ModelResponse:
        final = None
        async for event in events:
            if isinstance(event, ResponseTextDeltaEvent):
                await self._calls.emit(event.delta)
            elif isinstance(event, ResponseCompletedEvent):
                final = event.response
        if final is None:
            raise RuntimeError("the model's stream ended without a response")
        return ModelResponse(output=final.output, usage=_usage_of(final.usage), response_id=final.id)


def _usage_of(usage: Any) -> Usage:
    if usage is None:
        return Usage(requests=1)
    return Usage(
        requests=1,
        input_tokens=usage.input_tokens,
        input_tokens_details=usage.input_tokens_details,
        output_tokens=usage.output_tokens,
        output_tokens_details=usage.output_tokens_details,
        total_tokens=usage.total_tokens,
    )


def _json_of(result: Any) -> Any:
    """Return a tool's result as JSON: the SDK shows the model the text of all other objects."""
    if isinstance(result, BaseModel) and not isinstance(result, _OUTPUTS):
        return str(result)
    return to_jsonable_python(result, fallback=str)


def _as_json(response: ModelResponse) -> Any:
    return _RESPONSE.dump_python(response, mode="json")


__all__ = ("DurableAgent", "durable")
