"""A small part of the kill matrix of the adapters' examples; `make kills` runs all of it."""

from __future__ import annotations

import pytest

from tests.kills import matrix

pytestmark = pytest.mark.timeout(240)
KILLS = 6  # of each example


async def test_kills_repeat_no_committed_step_and_lose_no_job(redis_url, tmp_path):
    """Real workers of each example end by SIGKILL, and the results are those of the undisturbed run."""
    outcomes = await matrix.run(list(matrix.EXAMPLES), KILLS * len(matrix.EXAMPLES), redis_url, tmp_path)
    assert {name: outcome.findings for name, outcome in outcomes.items()} == {name: [] for name in matrix.EXAMPLES}
    assert all(outcome.kills.total() >= KILLS for outcome in outcomes.values()), outcomes


async def test_a_worker_that_forgets_its_steps_is_found(redis_url, tmp_path):
    """The matrix reports each committed step that runs again."""
    outcomes = await matrix.run(["openai"], KILLS, redis_url, tmp_path, forget=True)
    assert outcomes["openai"].repeated, outcomes
