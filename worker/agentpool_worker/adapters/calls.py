"""The base of all adapters: calls of models and tools as durable steps of a job.

An adapter translates a framework's calls into `model` and `tool` of `DurableCalls`, which name the steps and store the
results as JSON. A call inside a running step, such as a call of an agent that is a tool, is a part of that step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from agentpool_core.errors import StaleLeaseError
from agentpool_core.queue.usage import LONGEST_MODEL, UsageReport
from agentpool_worker.durable.steps import MAX_NAME_CHARS, run_once, running_step
from agentpool_worker.exceptions import EntryPointError, Permanent, Retry, StepBranchError, StepFailedError
from agentpool_worker.spans import describe_call

if TYPE_CHECKING:
    from agentpool_worker.context import Context
    from agentpool_worker.durable.steps import StepOptions

Response = TypeVar("Response")
_OURS = (Permanent, Retry, StaleLeaseError, StepFailedError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec(Generic[Response]):
    """Responses of a framework's models."""

    write: Callable[[Response], Any]  # to JSON
    read: Callable[[Any], Response]  # from JSON
    used: Callable[[Response], UsageReport]


class EntryPoints:
    """Base of an object that `durable` returns: refuses the framework's further calls, which would not be durable."""

    _remedy: ClassVar[str]

    def __getattr__(self, name: str) -> NoReturn:
        """Raise EntryPointError with the remedy; AttributeError for a private name."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise EntryPointError(name, self._remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class DurableCalls:
    """The calls of models and tools in one attempt at a job."""

    ctx: Context
    name: str = ""  # begins the names of the steps: of one of several agents that run at once
    stream: bool = True  # emit the model's text to the job's output as it comes
    options: StepOptions | None = None  # of each step

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Run an agent inside the block. Raises StepBranchError while an agent of the same name runs in the job.

        A framework runs the steps of an agent in tasks of its own, in which shared names would not be noticed. An
        agent inside a step has no steps.
        """
        if running_step.get():
            yield
            return
        agents = self.ctx.steps.agents
        if self.name in agents:
            raise StepBranchError(self._named("model"))
        agents.add(self.name)
        try:
            yield
        finally:
            agents.discard(self.name)

    async def model(
        self,
        ask: Callable[[], Awaitable[Response]],
        codec: Codec[Response],
        *,
        provider: str = "openai",
        operation: str = "chat",
    ) -> Response:
        """Return the response of a model, from the store if an earlier attempt has it: steps `model`, `model#2`, ….

        `provider` and `operation` are values of the semantic conventions of OpenTelemetry for generative AI.
        """

        async def call() -> Any:
            response = await ask()
            await self.report(codec.used(response))
            return codec.write(response)

        about = {"gen_ai.operation.name": operation, "gen_ai.provider.name": provider}
        return codec.read(await self.step("model", call, about))

    async def tool(self, name: str, call_id: str | None, function: Callable[[], Any]) -> Any:
        """Return the result of a tool (a JSON value), from the store if an earlier attempt has it.

        The step is `tool NAME CALL`: concurrent calls differ by the id that the model gave to each call.
        """
        about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        if call_id:
            about["gen_ai.tool.call.id"] = call_id
        return await self.step(f"tool {name} {call_id or ''}", function, about)

    async def step(self, name: str, function: Callable[[], Any], about: Mapping[str, str] | None = None) -> Any:
        """Run a step, or a part of the caller's step. `about`: attributes of the step's span."""
        if running_step.get():
            return await run_once(function)

        async def call() -> Any:
            describe_call(about or {})
            return await run_once(function)

        return await self.ctx.step(self._named(name), call, options=self.options)

    def _named(self, step: str) -> str:
        return f"{self.name} {step}".strip().replace("#", "-").lstrip("~")[:MAX_NAME_CHARS]

    async def report(self, used: UsageReport) -> None:
        """Report the usage of a call of a model."""
        await self.ctx.usage(
            input_tokens=used.input_tokens, output_tokens=used.output_tokens, cost=used.cost, model=used.model
        )

    async def emit(self, text: str | None) -> None:
        """Append text of the model to the job's output."""
        if text:
            await self.ctx.emit(text)


def usage_report(
    model: str | None, input_tokens: int | None, output_tokens: int | None, cost: float = 0.0
) -> UsageReport:
    """Return a report that the queue takes, whatever a server of models has sent."""
    name = (model or "").encode("ascii", "replace").decode()[:LONGEST_MODEL]
    return UsageReport(
        model=name if name.isprintable() else "",
        input_tokens=max(0, input_tokens or 0),
        output_tokens=max(0, output_tokens or 0),
        cost=cost,
    )


def own_error(error: BaseException) -> Exception | None:
    """Return the error of ours that a framework has wrapped in an error of its own, if any."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _OURS):
            return cause
        cause = cause.__cause__
    return None
