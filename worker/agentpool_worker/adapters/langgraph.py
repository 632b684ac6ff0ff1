"""LangGraph: each node of a graph is a durable step of the job, and `interrupt` waits for a signal without a slot.

    graph = builder.compile()                                          # unchanged

    @app.handler("article")
    async def article(payload, ctx):
        result = await durable(graph, ctx).ainvoke(payload)            # instead of graph.ainvoke(payload)
        return result["text"]

A `JobSaver` is the graph's checkpointer: a later attempt continues behind the last finished node. The graph runs in
steps of its own, `graph`, `graph#2`, …, from one interrupt to the next. Tested with langgraph 1.2.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackHandler
from langgraph.channels import DeltaChannel
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from agentpool_worker.adapters.calls import DurableCalls, EntryPoints, usage_report
from agentpool_worker.adapters.langgraph_saver import JobSaver
from agentpool_worker.durable.steps import running_step
from agentpool_worker.exceptions import Permanent, Yielded

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from langchain_core.outputs import LLMResult
    from langgraph.pregel import Pregel
    from langgraph.types import StateSnapshot

    from agentpool_worker.context import Context

_MODES = ("values", "tasks", "custom", "messages")  # of these, `messages` lets chat models stream


def durable(
    graph: Pregel[Any, Any, Any, Any],
    ctx: Context,
    *,
    signal: str | Callable[[Any], str] = "resume",
    timeout: timedelta | float | None = None,
    name: str = "",
    stream: bool = True,
) -> DurableGraph:
    """Return the graph with durable nodes in this job.

    `signal`: name of the signal that answers an interrupt, or a function of the interrupt's value. `timeout`: of the
    wait, as in `ctx.wait_for`. `name`: begins the names of its steps, where several graphs run at once. `stream`:
    emit the text of chat models, and the values of `get_stream_writer`, to the job's output.
    """
    if deltas := [name for name, channel in graph.channels.items() if isinstance(channel, DeltaChannel)]:
        raise Permanent(f"channel {deltas[0]!r}: a DeltaChannel cannot be durable; use a reducer")
    wait = _Wait(signal=signal, timeout=timeout)
    return DurableGraph(graph, DurableCalls(ctx=ctx, name=name, stream=stream), wait)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wait:
    """How interrupts become waits."""

    signal: str | Callable[[Any], str]
    timeout: timedelta | float | None

    def signal_of(self, value: Any) -> str:
        """Return the name of the signal that answers an interrupt."""
        return self.signal if isinstance(self.signal, str) else self.signal(value)


class DurableGraph(EntryPoints):
    """A graph within one attempt at a job."""

    _remedy = "use `await durable(graph, ctx).ainvoke(…)`: the text goes to the job's output as it comes"

    def __init__(self, graph: Pregel[Any, Any, Any, Any], calls: DurableCalls, wait: _Wait) -> None:
        self._graph = graph
        self._calls = calls
        self._wait = wait

    async def ainvoke(self, input: Any, config: Any = None, **keywords: Any) -> Any:  # noqa: A002
        """Run the graph, as `graph.ainvoke` does, with the same arguments and the same result.

        The checkpoints of the run are the job's: a checkpointer that the graph was compiled with is not used.
        """
        ctx = self._calls.ctx
        saver = JobSaver(ctx.steps, serde=getattr(self._graph.checkpointer, "serde", None))
        graph = self._graph.copy({"checkpointer": saver}).with_config(callbacks=[_ModelCalls(self._calls)])
        thread = {"thread_id": ctx.job_id} | (config or {}).get("configurable", {})
        run = _Run(graph, (config or {}) | {"configurable": thread}, keywords, saver, self._calls)
        given, answers = input, dict[str, Any]()
        while True:
            end = await self._calls.step("graph", lambda: run.go_on(given, answers))  # noqa: B023  # runs at once
            saver.run = end["run"]
            saver.segment += 1
            if "output" in end:
                return saver.read(end["output"])
            answers = {each["id"]: await self._answer(each["value"]) for each in end["interrupts"]}

    async def _answer(self, value: Any) -> Any:
        signal = self._wait.signal_of(value)
        return await self._calls.ctx.wait_for(signal, timeout=self._wait.timeout, question=value)


class _Run:
    """A run of a graph, from one interrupt to the next."""

    def __init__(self, graph: Any, config: Any, keywords: dict[str, Any], saver: JobSaver, calls: DurableCalls) -> None:
        self._graph = graph
        self._config = config
        self._keywords = keywords
        self._saver = saver
        self._calls = calls

    async def go_on(self, given: Any, answers: dict[str, Any]) -> dict[str, Any]:
        """Run nodes until the graph has ended or waits for answers; return the output, or the interrupts."""
        step = running_step.get()
        self._calls.ctx.steps.closed.add(step)
        await self._saver.load(step)
        state = await self._graph.aget_state(self._config)
        output = await self._stream(self._input(given, answers, state))
        state = await self._graph.aget_state(self._config)
        end: dict[str, Any] = {"run": self._saver.run}
        if not state.next:
            return end | {"output": self._saver.written(output)}
        questions = [(each.id, to_jsonable_python(each.value, fallback=str)) for each in state.interrupts]
        questions = questions or [("", {"next": list(state.next)})]  # a breakpoint of the graph
        return end | {"interrupts": [{"id": each, "value": value} for each, value in questions]}

    def _input(self, given: Any, answers: dict[str, Any], state: StateSnapshot) -> Any:
        """Return the input of the graph: for a new run, for one that was lost, or for one that waited."""
        if state.created_at is None:
            return given
        resume = {
            interrupt.id: answers[interrupt.id]
            for task in state.tasks
            if self._saver.waited(task.id)
            for interrupt in task.interrupts
            if interrupt.id in answers
        }
        return Command(resume=resume) if resume else None

    async def _stream(self, given: Any) -> Any:
        output = None
        chunks = self._graph.astream(
            given, self._config, stream_mode=list(_MODES), subgraphs=True, durability="sync", **self._keywords
        )
        async with aclosing(chunks):
            async for namespace, mode, value in chunks:
                if mode == "tasks" and "input" in value:
                    self._saver.node_names[value["id"]] = value["name"]
                elif mode == "custom" and self._calls.stream:
                    await self._calls.ctx.emit(value)
                elif mode == "values" and not namespace:
                    output = value
                    if self._calls.ctx.yielding:
                        raise Yielded(None)
        return output


class _ModelCalls(AsyncCallbackHandler):
    """Carries text and usage of chat models to the job, before their node ends."""

    raise_error = True

    def __init__(self, calls: DurableCalls) -> None:
        self._calls = calls

    async def on_llm_new_token(self, token: str | list[Any], **_keywords: Any) -> None:
        """Emit a part of a model's text."""
        if self._calls.stream and isinstance(token, str):
            await self._calls.emit(token)

    async def on_llm_end(self, response: LLMResult, **_keywords: Any) -> None:
        """Report the usage of a model."""
        for generation in (each for group in response.generations for each in group):
            message = getattr(generation, "message", None)
            used = getattr(message, "usage_metadata", None) or {}
            model = (getattr(message, "response_metadata", None) or {}).get("model_name")
            await self._calls.report(usage_report(model, used.get("input_tokens"), used.get("output_tokens")))


__all__ = ("DurableGraph", "durable")
