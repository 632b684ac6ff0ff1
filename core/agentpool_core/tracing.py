"""W3C trace context from submit to handler to child job; OpenTelemetry's if the program has it.

With the OpenTelemetry API installed, submitted jobs carry the program's current span, and a handler runs with that span
as its parent, so its spans join the trace; without it headers are passed on unchanged. A job without a trace costs a
single truth test. `agentpool_core.client` asks for the current span, `agentpool_worker.jobs.execution` enters the
trace, `ctx.submit` and the http handler pass it on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import secrets
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The namespace alone may be installed by other packages.
_HAS_OPENTELEMETRY = bool(
    importlib.util.find_spec("opentelemetry") and importlib.util.find_spec("opentelemetry.propagate")
)
W3C_HEADERS = ("traceparent", "tracestate")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
_SPAN_ID_BYTES = 8


@contextlib.contextmanager
def enter_trace(trace: Mapping[str, str]) -> Iterator[None]:
    """Make the trace current inside the block, if OpenTelemetry is installed."""
    if not _HAS_OPENTELEMETRY:
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(dict(trace)))
    try:
        yield
    finally:
        context.detach(token)


def trace_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the trace of a request's headers; empty without one."""
    return {name: headers[name] for name in W3C_HEADERS if name in headers}


def current() -> dict[str, str]:
    """Return the headers of the current span; empty without a span or without OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:  # no spans here: its import would be wasted
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier if "traceparent" in carrier else {}


def child_of(trace: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to pass on: those of the current span, else the job's under a new span id."""
    if headers := current():
        return headers
    headers = {name: value for name, value in trace.items() if name in (*W3C_HEADERS, "baggage")}
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if parent:
        version, trace_id, flags = parent.groups()
        headers["traceparent"] = f"{version}-{trace_id}-{secrets.token_hex(_SPAN_ID_BYTES)}-{flags}"
    return headers
