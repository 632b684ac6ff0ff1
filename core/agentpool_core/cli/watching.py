"""`-w`: print a list, and then each row that changes, as kubectl does. A list is read again every second.

A row that leaves the list is read once more by its key, so that a job's end is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agentpool_core.cli.output import Output, emit, grid, padded, say, table, widths_of
from agentpool_core.documents import Document

EVERY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a list, with the document that it shows."""

    key: str  # identifies the row in all readings
    cells: tuple[object, ...]
    document: Document
    name: str  # for -o name
    steady: tuple[object, ...]  # cells of which a change is worth a line: no ages


Read: TypeAlias = Callable[[], Awaitable[Sequence[Row]]]
ReadOne: TypeAlias = Callable[[str], Awaitable[Row | None]]


def show_rows(headers: Sequence[str], rows: Sequence[Row], output: Output, *, empty: str, one: bool = False) -> None:
    """Print a list; `empty` is the text of a list without rows, `one`: the document of the only row alone."""
    text = table(headers, [row.cells for row in rows]) if rows else empty
    documents = [row.document for row in rows]
    emit(output, documents[0] if one else documents, names=[row.name for row in rows], text=text)


async def watch(headers: Sequence[str], read: Read, output: Output, *, read_gone: ReadOne | None = None) -> None:
    """Print the rows, and then every row that is new or has changed, until the command is interrupted."""
    shown: dict[str, tuple[object, ...]] = {}
    printer = _Printer(headers, output)
    while True:
        rows = {row.key: row for row in await read()}
        gone = [key for key in shown if key not in rows]
        last = [await read_gone(key) for key in gone] if read_gone else []
        changed = [row for row in (*rows.values(), *filter(None, last)) if shown.get(row.key) != row.steady]
        printer.show(changed)
        shown = {key: row.steady for key, row in rows.items()}
        await asyncio.sleep(EVERY_SECONDS)


class _Printer:
    """Prints rows in columns as wide as those of the first rows."""

    def __init__(self, headers: Sequence[str], output: Output) -> None:
        self._headers = headers
        self._output = output
        self._widths: list[int] = []  # none: nothing is printed yet

    def show(self, rows: Sequence[Row]) -> None:
        """Print rows, below the headers if they are the first."""
        header, *lines = grid(self._headers, [row.cells for row in rows])
        if not self._widths:
            self._widths = widths_of([header, *lines])
            if self._output.is_table:
                say(padded(header, self._widths))
        for row, line in zip(rows, lines, strict=True):
            emit(self._output, row.document, names=[row.name], text=padded(line, self._widths))
