"""Writes a report's table into the documents that show it, between marks that name the command.

A document says `<!-- table: python -m bench NAME -->`, and `<!-- end of table -->` where the table ends: nothing
between them is written by hand. Who takes over next: `python -m bench --write` calls it after each bench.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report import Report

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")
TABLE = re.compile(r"(<!-- table: python -m bench (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def write(report: Report, pages: tuple[Path, ...] = PAGES) -> list[Path]:
    """Puts the report's table wherever it is shown; the pages that changed."""
    changed = []
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new = TABLE.sub(lambda found: _filled(found, report), old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            changed.append(page)
    return changed


def _filled(found: re.Match[str], report: Report) -> str:
    opening, name, closing = found.groups()
    return f"{opening}{report.markdown()}\n{closing}" if name == report.name else found[0]
