"""Show a running demo: a live screen on a terminal, plain lines elsewhere.

Both take the same `View`s. The live screen redraws in place; the plain screen writes a line after a change, at most
once a second, so a log stays short.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentpool_core.jobs import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from agentpool_local.demo.figures import View

LINE_GAP_SECONDS = 1.0
REDRAWS_PER_SECOND = 8
BAR_WIDTH = 60  # characters


class Screen(Protocol):
    """Where a demo is shown."""

    def say(self, text: str) -> None:
        """Announce the next step."""

    def show(self, view: View) -> None:
        """Show the latest look."""

    def close(self) -> None:
        """Leave the last output in place; safe to call twice."""


def open_screen(stream: TextIO) -> Screen:
    """Return the screen that fits the stream."""
    return LiveScreen(stream) if stream.isatty() else PlainScreen(stream)


class PlainScreen:
    """Lines, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._shown_at = float("-inf")

    def say(self, text: str) -> None:
        """Write the text unchanged."""
        print(text, file=self._stream, flush=True)

    def show(self, view: View) -> None:
        """Write a line if it differs from the last line, and time has passed."""
        line = plain_line(view)
        if line == self._last or time.monotonic() - self._shown_at < LINE_GAP_SECONDS:
            return
        self._last, self._shown_at = line, time.monotonic()
        self.say(f"{view.seconds:5.1f} s  {line}")

    def close(self) -> None:
        """Do nothing: there is nothing to undo."""


class LiveScreen:
    """A screen that is redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._live = Live(console=Console(file=stream), refresh_per_second=REDRAWS_PER_SECOND)

    def say(self, text: str) -> None:
        """Write the text above the screen."""
        self._live.console.print(text, highlight=False, markup=False)

    def show(self, view: View) -> None:
        """Redraw."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(picture(view))

    def close(self) -> None:
        """Stop redrawing."""
        self._live.stop()


def plain_line(view: View) -> str:
    """Render a snapshot as a line."""
    routes = ", ".join(f"{route.name} {route.running}+{route.backlog}" for route in view.queue.routes if _busy(route))
    parts = [
        f"jobs {view.ended}/{view.submitted}",
        f"workers {view.pool.ready_replicas} ready of {view.pool.desired}",
        f"GPUs {view.pool.gpus_held}/{view.devices}",
        f"running+queued: {routes or 'none'}",
    ]
    if view.failed:
        parts.insert(1, f"failed {view.failed}")
    return "  ".join(parts)


def picture(view: View) -> RenderableType:
    """Render a snapshot as a screen."""
    done = Table.grid(padding=(0, 1))
    done.add_row(
        ProgressBar(total=max(view.submitted, 1), completed=view.ended, width=BAR_WIDTH),
        f"{view.ended} of {view.submitted} jobs" + (f", {view.failed} without a result" if view.failed else ""),
    )
    return Group(
        Text(f"AgentPool demo, {view.seconds:.0f} s", style="bold"),
        _queue_table(view),
        _workers_table(view),
        done,
    )


def _queue_table(view: View) -> Table:
    table = Table(title="queue", title_justify="left")
    table.add_column("route")
    for name in ("running", "limit", *(priority.value for priority in Priority)):
        table.add_column(name, justify="right")
    for route in view.queue.routes:
        queued = [str(route.queued.get(priority, 0)) for priority in Priority]
        table.add_row(route.name, str(route.running), "-" if route.limit is None else str(route.limit), *queued)
    return table


def _workers_table(view: View) -> Table:
    pool = view.pool
    columns: Sequence[tuple[str, str]] = (
        ("demand", str(pool.wanted)),
        ("limit", "-" if pool.cap is None else str(pool.cap)),
        ("desired", str(pool.desired)),
        ("ready", str(pool.ready_replicas)),
        ("GPUs held", f"{pool.gpus_held} of {view.devices}"),
        ("dispatch p50", _milliseconds(view.dispatch_p50_ms)),
        ("dispatch p99", _milliseconds(view.dispatch_p99_ms)),
    )
    table = Table(title="workers", title_justify="left")
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_row(*(value for _, value in columns))
    return table


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _busy(route: object) -> bool:
    return bool(getattr(route, "running", 0) or getattr(route, "backlog", 0))
