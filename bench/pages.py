"""Write a report's table into the documents that show the table, between marks that name the command.

A document contains `<!-- table: python -m bench NAME -->`, and `<!-- end of table -->` after the table: the text
between is generated. `digest` in place of `table` writes the comparison alone, without bars and versions.
`python -m bench --write` calls this after each benchmark.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.report import Report

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "redis.md")
TABLE = re.compile(r"(<!-- (table|digest): python -m bench (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def write(report: Report, pages: tuple[Path, ...] = PAGES) -> list[Path]:
    """Write the tables of the report and the parts into their documents; return the changed pages."""
    reports = {each.name: each for each in (report, *report.parts)}
    changed = []
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new = TABLE.sub(lambda found: _filled(found, reports), old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            changed.append(page)
    return changed


def _filled(found: re.Match[str], reports: Mapping[str, Report]) -> str:
    opening, form, name, closing = found.groups()
    if name not in reports:
        return found[0]
    text = reports[name].digest if form == "digest" else reports[name].markdown()
    return f"{opening}{text}\n{closing}"
