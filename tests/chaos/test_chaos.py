"""A slice of the chaos suite, small enough for every change; `make chaos` runs longer ones with any seed."""

from __future__ import annotations

import os

import pytest

from tests.chaos import report
from tests.chaos.run import run

SECONDS = float(os.environ.get("AGENTPOOL_CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("AGENTPOOL_CHAOS_SEED", "1"))


@pytest.mark.timeout(600)
async def test_a_whole_system_keeps_its_promises_while_it_is_broken(tmp_path):
    """Whatever is killed, stopped, cut or changed: no acknowledged job is lost or done twice, and all comes to rest."""
    outcome = await run(SECONDS, SEED, keep=tmp_path)
    print(report.table(outcome))  # noqa: T201 - pytest shows it when the test failed
    assert outcome.acknowledged > 100
    assert outcome.findings == ()
