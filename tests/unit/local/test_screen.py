"""Showing a running demo."""

import io
import re

import pytest

from agentpool_core.jobs import Priority, WorkerId
from agentpool_core.queue.snapshots import RouteSnapshot, WorkerSnapshot
from agentpool_local.demo.figures import View
from agentpool_local.demo.screen import LiveScreen, PlainScreen, open_screen
from agentpool_local.stack.cluster import PoolState
from tests.fixtures.snapshots import snapshot_with


def view(*, succeeded=3, failed=0, dispatch=2.5):
    worker = WorkerSnapshot(name=WorkerId("w"), slots=2, running=2, host="h", lease_expires_at_ms=9)
    queue = snapshot_with(
        taken_at_ms=1,
        routes=(
            RouteSnapshot(name="code", limit=2, queued={Priority.TASK: 5, Priority.INFO: 1}, running=2),
            RouteSnapshot(name="text", limit=3, queued={}, running=0),
        ),
        oldest_wait_ms=10, workers=(worker,), submitted_total=11, started_total=5,
        finished_total=3, run_ms_total=9, settings_revision="1",
    )  # fmt: skip
    pool = PoolState(
        ready=True, reason="", wanted=16, cap=6, desired=2, replicas=2, ready_replicas=1, gpus_held=2,
    )  # fmt: skip
    return View(
        seconds=1.5, queue=queue, pool=pool, devices=4, submitted=11, succeeded=succeeded, failed=failed,
        dispatch_p50_ms=dispatch, dispatch_p99_ms=dispatch,
    )  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_plain_lines_are_written():
    """A line has jobs, workers, GPUs and the busy routes; an unchanged state is not repeated."""
    stream = io.StringIO()
    screen = open_screen(stream)
    assert isinstance(screen, PlainScreen)
    screen.show(view())
    screen.show(view())
    screen.close()
    assert stream.getvalue() == ("  1.5 s  jobs 3/11  workers 1 ready of 2  GPUs 2/4  running+queued: code 2+6\n")


def test_failures_are_shown_in_plain_lines():
    """Lines without failures do not mention failures."""
    stream = io.StringIO()
    PlainScreen(stream).show(view(failed=2))
    assert "jobs 5/11  failed 2  workers" in stream.getvalue()


def test_a_terminal_gets_a_live_screen():
    """The screen shows routes by priority, workers, GPUs, dispatch and progress."""
    stream = Terminal()
    screen = open_screen(stream)
    assert isinstance(screen, LiveScreen)
    screen.say("starting")
    screen.show(view(failed=1))
    screen.close()
    screen.close()
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"demand .* limit .* desired .* ready", seen)
    assert re.search(r"16 .* 6 .* 2 .* 1 ", seen)
    for reported in ("starting", "code", "critical", "2 of 4", "2.5 ms", "4 of 11 jobs, 1 without a result"):
        assert reported in seen


@pytest.mark.parametrize("dispatch", [None])
def test_a_missing_measurement_is_a_dash(dispatch):
    """The screen never invents a figure."""
    stream = Terminal()
    screen = LiveScreen(stream)
    screen.show(view(dispatch=dispatch))
    screen.close()
    assert " - " in stream.getvalue()
