"""Draws the five cases as an SVG: two bars each, before and after, on a scale of the case's own."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Figure

WIDTH, ROW, TOP, LEFT, BAR = 860, 64, 44, 20, 480  # px
BEFORE, AFTER, INK, PAPER = "#c2553f", "#2f7d5b", "#222222", "#ffffff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A failure, before and after; less is better."""

    title: str
    measure: str  # meaning of the figures
    before: Figure
    after: Figure


def drawn(cases: Sequence[Case]) -> str:
    """Return the picture's text; the same figures give the same picture."""
    height = TOP + ROW * len(cases) + 10
    rows = [_row(case, TOP + ROW * number) for number, case in enumerate(cases)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
            _text(LEFT, 24, "Five failures, before and after (less is better)", 16, weight="bold"),
            *rows,
            "</svg>\n",
        ]
    )


def _row(case: Case, y: int) -> str:
    most = max(case.before.median, case.after.median) or 1.0
    bars = []
    for number, (figure, colour, word) in enumerate(((case.before, BEFORE, "before"), (case.after, AFTER, "after"))):
        width = max(1.0, BAR * figure.median / most)
        top = y + 20 + 17 * number
        bars.append(f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="14" fill="{colour}"/>')
        label = f"{word}: {figure.median:,.4g} {figure.unit}"
        bars.append(_text(LEFT + width + 8, top + 11, label, 12))
    return "\n".join([_text(LEFT, y + 13, f"{case.title}: {case.measure}", 13), *bars])


def _text(x: float, y: float, text: str, size: int, *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{INK}">{escape(text)}</text>'
