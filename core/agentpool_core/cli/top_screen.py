"""The screen of `agentpool top`, drawn with rich: waiting jobs as bars, and the slots of each worker as cells.

Cells are drawn where each job takes one slot. Pure: a snapshot in, a renderable out. Colours repeat information that
the text has too.
"""

from __future__ import annotations

from agentpool_core.cli.queue_tables import headline
from agentpool_core.durations import format_duration
from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef, Priority
from agentpool_core.queue.snapshots import QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_core.text import one_line

try:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    raise SettingError(
        field="agentpool top",
        value="terminal",
        problem="rich is not installed",
        remedy="pip install 'agentpool-core[cli]', or pass --once",
    ) from error

BAR_CELLS = 40  # width of the longest bar
MOST_SLOT_CELLS = 64  # slots drawn for a worker; further slots are a number
MOST_WORKERS = 40  # lines
COLOURS = {Priority.CRITICAL: "red", Priority.TASK: "cyan", Priority.INFO: "bright_black"}


def open_screen() -> Live:
    """Return the display, which releases the terminal after the block."""
    return Live(screen=True, auto_refresh=False)


def plain_screen(text: str) -> Text:
    """Return text that fills the screen, a line of it per line."""
    return Text(text, no_wrap=True)


def screen(pool: PoolRef, snapshot: QueueSnapshot, rates: str, *, trouble: str | None) -> Group:
    """Everything on the screen; `trouble` says why the figures are old."""
    lines = [
        Text(f"{pool}", style="bold").append(f"   {rates}", style="not bold"),
        Text(headline(snapshot)),
    ]
    if trouble:
        lines.append(Text(one_line(f"! {trouble}"), style="bold red"))
    return Group(*lines, Text(), _routes(snapshot), Text(), _workers(snapshot))


def _routes(snapshot: QueueSnapshot) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("ROUTE", "RUNNING", "QUEUED", "critical ■  task ▣  info □"):
        grid.add_column(header, header_style="bright_black", no_wrap=True)
    longest = max((route.backlog for route in snapshot.routes), default=0)
    for route in snapshot.routes:
        limit = "" if route.limit is None else f"/{route.limit}"
        grid.add_row(Text(one_line(route.name)), f"{route.running}{limit}", str(route.backlog), _bar(route, longest))
    return grid


def _bar(route: RouteSnapshot, longest: int) -> Text:
    """Return a bar; its full width is the backlog of the longest route."""
    bar = Text()
    for priority, cell in zip(Priority, "■▣□", strict=True):
        count = route.queued.get(priority, 0)
        cells = -(-count * BAR_CELLS // max(longest, BAR_CELLS))
        bar.append(cell * cells, style=COLOURS[priority])
    return bar


def _workers(snapshot: QueueSnapshot) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("WORKER", "JOBS/SLOTS", "LEASE", ""):
        grid.add_column(header, header_style="bright_black", no_wrap=True)
    for worker in snapshot.workers[:MOST_WORKERS]:
        left = format_duration(worker.lease_expires_at_ms - snapshot.taken_at_ms)
        lease = Text(left) if snapshot.lives(worker) else Text("lost", style="red")
        cells = _cells(worker) if snapshot.is_plain else Text()
        grid.add_row(Text(one_line(worker.name)), f"{worker.running}/{worker.slots}", lease, cells)
    if len(snapshot.workers) > MOST_WORKERS:
        grid.add_row(f"and {len(snapshot.workers) - MOST_WORKERS} more", "", "", "")
    return grid


def _cells(worker: WorkerSnapshot) -> Text:
    if worker.slots > MOST_SLOT_CELLS:
        return Text()
    busy = min(worker.running, worker.slots)
    return Text("▪" * busy, style="green").append("·" * (worker.slots - busy), style="bright_black")
