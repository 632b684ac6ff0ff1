"""A progress bar on standard error, on terminals only.

`rich` draws the bar (the extra `cli`); without the package no bar is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[int], None]  # called with the number of newly finished items


@contextmanager
def show_progress(title: str, count: Callable[[], int | None]) -> Iterator[Progress]:
    """Show a bar during the block; call `count` only for a visible bar, for the total (None: unknown)."""
    bar = _make_bar(title, count) if sys.stderr.isatty() else None
    if bar is None:
        yield _ignore
        return
    with bar:
        (task,) = bar.task_ids
        yield lambda more: bar.update(task, advance=more)


def _ignore(more: int) -> None:
    del more


def _make_bar(title: str, count: Callable[[], int | None]) -> Any:
    """Return rich's Progress with its task; None if rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        return None
    total = count()
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    if total is not None:
        columns.append(TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(title, total=total)
    return bar
