"""Spans of OpenTelemetry: one for each attempt and each durable step, where the program has set up a tracer.

Without a tracer no span is made, and the handler runs in the submitter's trace. The names of attributes are those of
the semantic conventions for messaging (an attempt processes a message; its destination is the kind) and for generative
AI (calls of models and tools, usage). `agentpool_core.tracing` passes the trace from the submitter to the job.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agentpool_core.queue.completions import Completion, Failed
from agentpool_core.tracing import enter_trace

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease
    from agentpool_core.queue.usage import UsageReport

_LONGEST_ERROR = 500  # characters of an error in a span


def is_tracing() -> bool:
    """Return whether the program has set up a tracer."""
    return _tracer() is not None


@contextlib.contextmanager
def attempt_span(lease: Lease) -> Iterator[Callable[[Completion], None]]:
    """Run an attempt in the submitter's trace, in a span of its own; yield a function that takes its completion."""
    with enter_trace(lease.trace):
        tracer = _tracer()
        if tracer is None:
            yield _ignore
            return
        from opentelemetry import trace

        submitter = trace.get_current_span().get_span_context()
        with tracer.start_as_current_span(
            f"process {lease.kind}",
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(submitter)] if submitter.is_valid else [],
            attributes=_attributes_of(lease),
        ) as span:
            yield lambda completion: _describe_end(span, completion)


@contextlib.contextmanager
def step_span(name: str, attempt: int) -> Iterator[None]:
    """Run a durable step in a span of its own."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    attributes = {"agentpool.step.name": name, "agentpool.attempt": attempt}
    with tracer.start_as_current_span(f"step {name}", attributes=attributes):
        yield


def describe_call(attributes: Mapping[str, str]) -> None:
    """Add the attributes of a call of a model or a tool to the current span, that of its step."""
    if _tracer() is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(dict(attributes))


def record_usage(report: UsageReport) -> None:
    """Add a report of usage to the attributes of the current span: that of the step, or else of the attempt."""
    if _tracer() is None:
        return
    from opentelemetry import trace

    span = trace.get_current_span()
    before = getattr(span, "attributes", None) or {}
    sums = {
        "gen_ai.usage.input_tokens": report.input_tokens,
        "gen_ai.usage.output_tokens": report.output_tokens,
        "agentpool.usage.cost": report.cost,
    }
    span.set_attributes({name: before.get(name, 0) + value for name, value in sums.items()})
    if report.model:
        span.set_attribute("gen_ai.request.model", report.model)


def _tracer() -> Any:
    """Return the program's tracer; None if the program has not set up any."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    return None if isinstance(provider, api.ProxyTracerProvider) else _tracer_of(provider)


@functools.lru_cache(maxsize=1)
def _tracer_of(provider: Any) -> Any:
    return provider.get_tracer("agentpool")


def _attributes_of(lease: Lease) -> dict[str, str | int]:
    return {
        "messaging.system": "agentpool",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": lease.kind,
        "messaging.message.id": lease.job_id,
        "agentpool.route": lease.route,
        "agentpool.attempt": lease.attempt,
    }


def _describe_end(span: Any, completion: Completion) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("agentpool.outcome", type(completion).__name__.lower())
    if isinstance(completion, Failed):
        first = completion.error.partition("\n")[0][:_LONGEST_ERROR]
        span.set_attribute("error.type", first.partition(":")[0])
        span.set_status(Status(StatusCode.ERROR, first))


def _ignore(_completion: Completion) -> None:
    pass
