"""A progress bar on standard error, where a person looks; nothing at all where output is piped.

`rich` draws it (the extra `cli`); without the package the work goes on unseen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[int], None]  # told how many more are done


@contextmanager
def shown_progress(title: str, total: int | None) -> Iterator[Progress]:
    """A bar for `total` things (None: unknown), for as long as the block runs."""
    bar = _bar(total) if sys.stderr.isatty() else None
    if bar is None:
        yield _unseen
        return
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda more: bar.update(task, advance=more)


def _unseen(more: int) -> None:
    del more


def _bar(total: int | None) -> Any:
    """Rich's Progress; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        return None
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    if total is not None:
        columns.append(TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
