"""A moved clock changes the time of day of its processes, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.clocks import Clock, ClockMissingError
from tests.chaos.ground import connected
from tests.fixtures.redis import wait_until

TELL = "import time; print(time.time(), time.monotonic(), flush=True)"
SLACK_SECONDS = 60.0  # far less than the clock moves, far more than a start takes


@pytest.fixture
def clock(tmp_path):
    """A clock without processes."""
    try:
        made = Clock(tmp_path / "clock")
    except ClockMissingError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def offsets(clock):
    """Return a process's offset from our clocks in seconds, for the time of day and for the monotonic clock."""
    done = subprocess.run(
        [sys.executable, "-c", TELL], env=os.environ | clock.environment, capture_output=True, text=True, check=True
    )
    day, monotonic = map(float, done.stdout.split())
    return day - time.time(), monotonic - time.monotonic()


def test_a_process_sees_its_clock_moved(clock):
    """The clock moves forward and back; the monotonic clock stays that of the machine."""
    clock.move(+3600)
    clock.move(-7200)
    day, monotonic = offsets(clock)
    assert abs(day + 3600) < SLACK_SECONDS
    assert abs(monotonic) < SLACK_SECONDS


async def test_redis_notices_that_its_clock_was_set(clock, redis_server_factory):
    """The server's clock, which times the leases, shows the new time in either direction."""
    server = redis_server_factory(environment=clock.environment)
    async with connected(server) as client:
        for move in (+3600, -1800):
            clock.move(move)

            async def moved() -> bool:
                seconds, _ = await client.time()
                return abs(seconds - time.time() - clock.offset_s) < SLACK_SECONDS

            await wait_until(moved, f"the server's clock is {clock.offset_s} s ahead")


def test_a_clock_leaves_nothing_behind(clock, tmp_path):
    """Neither a killed process nor a closed clock leaves anything in the machine's shared memory."""
    another = Clock(tmp_path / "another")
    process = subprocess.Popen(
        [sys.executable, "-c", f"{TELL}; time.sleep(60)"], env=os.environ | another.environment, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline()
        process.kill()
    another.close()
    shared = {path.name for path in Path("/dev/shm").iterdir()}
    assert not {name for name in shared if another._shared.name in name or str(process.pid) in name}
