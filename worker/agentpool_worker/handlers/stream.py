"""The two forms of a container's streamed answer: NDJSON and server-sent events.

Both carry the same parts. NDJSON: a JSON object per line, `{"progress": …}`, `{"checkpoint": …}`, `{"chunk": …}`, and
at the end `{"result": …}` or `{"error": "…", "retry": false}`. SSE: the same names as event types, with the value as
data. Pure parsing. Commands report as NDJSON too. Used by `agentpool_worker.handlers.http` and
`agentpool_worker.handlers.job_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.codec.json_text import parse

LINE_LIMIT_BYTES = 16 * 1024 * 1024  # a longer line fails the job instead of filling the worker's memory


class PartName(StrEnum):
    """Name of a part of the stream."""

    PROGRESS = "progress"  # how far the job is
    CHECKPOINT = "checkpoint"  # state to save
    CHUNK = "chunk"  # of the job's output
    RESULT = "result"  # the job succeeded
    ERROR = "error"  # the job failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of the stream."""

    name: PartName
    value: Any
    retry: bool = True  # of an error: whether a further attempt may succeed


class LineSplitter:
    """Lines from chunks that end anywhere."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []  # of the line that has not ended
        self._begun_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines completed by this chunk, without line ends. Raises ValueError for an oversized line."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._begun, lines[0]))
            self._begun, self._begun_bytes = [], 0
        self._begun.append(rest)
        self._begun_bytes += len(rest)
        if self._begun_bytes > LINE_LIMIT_BYTES:
            raise ValueError(f"a line has more than {LINE_LIMIT_BYTES} bytes")
        return lines

    def rest(self) -> bytes:
        """Return the text after the last line end."""
        return b"".join(self._begun)


def parse_ndjson(line: bytes) -> Part | None:
    """Return the part on this line; None for an empty line. Raises ValueError for invalid lines."""
    text = line.strip()
    if not text:
        return None
    fields = _json(text)
    if isinstance(fields, dict):
        for name in PartName:
            if name.value in fields:
                return Part(name=name, value=fields[name.value], retry=fields.get("retry", True) is not False)
    raise ValueError(f"a line must be an object with one of {', '.join(PartName)}, not {text[:80]!r}")


def _json(text: str | bytes) -> Any:
    """Return the value of JSON text. Raises ValueError, also for excessive nesting."""
    try:
        return parse("line", text, envelope=True)
    except InvalidJobError as error:
        raise ValueError(str(error)) from error


class EventParser:
    """Server-sent events, a line at a time."""

    def __init__(self) -> None:
        self._event = ""
        self._data: list[str] = []

    def feed(self, line: bytes) -> Part | None:
        """Return the part that this line completes, or None. Raises ValueError for data that is not JSON."""
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        if not text:
            return self._complete()
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        return None

    def _complete(self) -> Part | None:
        event, data = self._event, "\n".join(self._data)
        self._event, self._data = "", []
        if not data:
            return None
        if event not in set(PartName):  # unknown events belong to the container
            return None
        value = _json(data)
        retry = True
        if event == PartName.ERROR and isinstance(value, dict):
            retry = value.get("retry", True) is not False
            value = value.get("error", value)
        return Part(name=PartName(event), value=value, retry=retry)
