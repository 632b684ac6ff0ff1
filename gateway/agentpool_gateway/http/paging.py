"""Pages of lists that are sorted by name: the cursor is the last name of a page, so a list may change between pages.

Lists of jobs have pages of their own, see `routes.selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query

Row = TypeVar("Row")
MOST_NAMES = 1_000  # in a page
NamesLimit = Annotated[int, Query(ge=1, le=MOST_NAMES)]
NameCursor = Annotated[str, Query(description="Of the page before; empty: from the start.")]


def page_by_name(
    rows: Iterable[Row], limit: int, cursor: str, *, name: Callable[[Row], str] = str
) -> tuple[list[Row], str | None]:
    """Return at most `limit` rows after a cursor, sorted by name, and the next page's cursor; None: the end."""
    left = sorted((row for row in rows if name(row) > cursor), key=name)
    page = left[:limit]
    return page, name(page[-1]) if len(left) > limit else None
