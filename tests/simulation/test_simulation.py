"""The simulation: one seed, one history; no finding in some schedules; a wrong queue is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.grounds import simulated_server
from tests.simulation.hunt import hunt
from tests.simulation.schedule import simulate

ROOT = Path(__file__).parents[2]
SCHEDULES = 5


@pytest.fixture(scope="module")
def server():
    with simulated_server() as server:
        yield server


def test_a_seed_has_one_history(server):
    """A process with another order of sets writes the same bytes, and a different seed writes others."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3"],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "1"}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    here = simulate(3, server)
    assert done.stdout.splitlines()[:-1] == list(here.story.lines())
    assert here.story.digest() in done.stdout
    assert simulate(4, server).story.digest() != here.story.digest()


def test_no_schedule_breaks_a_promise(server):
    """Consecutive seeds have no finding."""
    found = {seed: findings for seed in range(1, SCHEDULES + 1) if (findings := simulate(seed, server).findings)}
    assert found == {}


def test_a_wrong_queue_is_found():
    """A queue in which an ended job's entry stays pending has a finding within some schedules."""
    (caught,) = hunt(["deleted-not-acknowledged"], schedules=SCHEDULES, processes=1)
    assert caught.seed is not None
