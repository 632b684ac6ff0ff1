"""Pass on a worker's output unchanged and keep its last lines for the end.

Each stream gets a pipe; standard output and standard error of the same file share a pipe, which keeps their order. A
pipe in place of a pipe or a file changes nothing for the writer: Python and C buffer alike for both. A terminal is left
to the worker itself, and none of its output is kept. Output that cannot be written at the moment waits, and the worker
with it, never the supervisor. `agentpool_worker.supervision.supervisor` polls the descriptors.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from agentpool_worker.supervision.previous_exit import MOST_LINES, shorten

_PIECE_BYTES = 4096  # PIPE_BUF: a pipe that is ready to be written takes so many without blocking
_KEPT_BYTES = 16 * 1024
_FLUSH_SECONDS = 1.0  # for the last output to a slow reader


class _Stream:
    """A pipe from the worker to a descriptor of the supervisor."""

    def __init__(self, target: int, also: tuple[int, ...]) -> None:
        self.target = target  # where the output goes
        self.descriptors = (target, *also)  # of the worker
        self.source, self.end = os.pipe()
        os.set_blocking(self.source, False)
        self.waiting = b""

    def read(self) -> bytes:
        """Return the received bytes; empty: nothing now."""
        try:
            return os.read(self.source, _PIECE_BYTES)
        except BlockingIOError:
            return b""

    def write(self) -> None:
        """Write a part of the pending output; drop the output of a missing reader."""
        try:
            written = os.write(self.target, self.waiting[:_PIECE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            written = len(self.waiting)
        self.waiting = self.waiting[written:]


class Output:
    """The output of successive worker processes."""

    def __init__(self) -> None:
        self._streams = [_Stream(target, also) for target, also in _targets()]
        self._tail = b""

    def descriptors(self) -> list[tuple[int, int]]:
        """Return each descriptor to poll with the events."""
        return [
            (stream.target, select.POLLOUT) if stream.waiting else (stream.source, select.POLLIN)
            for stream in self._streams
        ]

    def move(self, ready: set[int]) -> None:
        """Pass on output without blocking."""
        for stream in self._streams:
            if stream.waiting and stream.target in ready:
                stream.write()
            elif not stream.waiting and stream.source in ready:
                stream.waiting = stream.read()
                self._tail = (self._tail + stream.waiting)[-_KEPT_BYTES:]

    def finish(self) -> None:
        """Pass on the rest of an ended worker's output, for a limited time."""
        give_up_at = time.monotonic() + _FLUSH_SECONDS
        while time.monotonic() < give_up_at:
            poll = select.poll()
            for descriptor, events in self.descriptors():
                poll.register(descriptor, events)
            waits = any(stream.waiting for stream in self._streams)
            ready = {descriptor for descriptor, _ in poll.poll(50 if waits else 0)}
            if not ready and not waits:
                return
            self.move(ready)

    def take_lines(self) -> tuple[str, ...]:
        """Return the last lines, and start again with none."""
        lines = self._tail.decode(errors="replace").splitlines()
        self._tail = b""
        return tuple(shorten(line) for line in lines[-MOST_LINES:])

    def attach(self) -> None:
        """In the new worker process: write to the pipes, and hold none of our ends."""
        for stream in self._streams:
            for descriptor in stream.descriptors:
                os.dup2(stream.end, descriptor)
            os.close(stream.source)
            os.close(stream.end)


def _targets() -> list[tuple[int, tuple[int, ...]]]:
    """Return each target descriptor with the duplicates of the same file."""
    found: list[tuple[int, tuple[int, int]]] = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if not os.isatty(descriptor):
                status = os.fstat(descriptor)
                found.append((descriptor, (status.st_dev, status.st_ino)))
    if len(found) == 2 and found[0][1] == found[1][1]:  # noqa: PLR2004 - both streams
        return [(found[0][0], (found[1][0],))]
    return [(descriptor, ()) for descriptor, _ in found]
