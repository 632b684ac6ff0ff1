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
SCHEDULES = 8


@pytest.fixture(scope="module")
def server():
    with simulated_server() as server:
        yield server


def test_a_seed_has_one_history(server):
    """Two processes with different orders of sets write the same bytes, and a different seed writes others."""
    histories = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "3"],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True,
        )  # fmt: skip
        histories.append(done.stdout)
    here = simulate(3, server)
    assert histories[0] == histories[1]
    assert here.story.digest().encode() in histories[0]
    assert simulate(4, server).story.digest() != here.story.digest()


def test_no_schedule_breaks_a_promise(server):
    """Consecutive seeds have no finding."""
    found = {seed: findings for seed in range(1, SCHEDULES + 1) if (findings := simulate(seed, server).findings)}
    assert found == {}


def test_a_wrong_queue_is_found():
    """A queue in which the loss of a worker costs no attempt has a finding within some schedules."""
    (caught,) = hunt(["lost-worker-is-free"], schedules=SCHEDULES, processes=1)
    assert caught.seed is not None
