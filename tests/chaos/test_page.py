"""docs/chaos.md describes the existing faults."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from tests.chaos.faults import Faults

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
CLOCKS = ("redis", "workers", "operators")  # of `Ground.clocks`


def test_the_page_lists_every_fault():
    """The table has every kind of fault, and no further kind."""
    table = re.search(r"\| fault \|.*?\n\n", PAGE.read_text(), re.DOTALL)[0]
    listed = {kind for row in table.splitlines()[2:] if row for kind in row.split("|")[1].strip().split(", ")}
    assert listed == set(Faults(SimpleNamespace(clocks=dict.fromkeys(CLOCKS)), seed=1).kinds)
