"""The figures of a pool whose jobs take several slots."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from agentpool_core.cli.queue_tables import headline, workers_table
from agentpool_core.cli.top_screen import screen
from agentpool_core.documents import queue_document
from agentpool_core.jobs import PoolRef
from tests.unit.commands.test_pending_reason import QUEUE, ROUTE, WORKER

POOL = PoolRef("ns", "wide")
PLAIN = replace(
    QUEUE, routes=(replace(ROUTE, running=2),), workers=(replace(WORKER, slots=10, running=2), replace(WORKER, slots=5))
)
WIDE = replace(PLAIN, routes=(replace(ROUTE, slots=3, running=2),))


def drawn(queue) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(screen(POOL, queue, "", trouble=None))
    return captured.get()


def test_jobs_and_slots_are_told_apart():
    """Two jobs of three slots take six slots, in words and in documents; a worker reports its jobs only."""
    assert "2 running, 6 of 15 slots used in 2 workers" in headline(WIDE)
    document = queue_document(WIDE, POOL)
    assert (document["running"], document["slots"], document["slots_used"]) == (2, 15, 6)
    assert document["routes"][0]["slots"] == 3
    assert "JOBS/SLOTS" in workers_table(WIDE)
    assert "2/10" in workers_table(WIDE)


def test_a_cell_of_the_screen_stands_for_a_slot():
    """Cells are drawn only where each job takes one slot."""
    assert "▪▪········" in drawn(PLAIN)
    assert "▪" not in drawn(WIDE)
