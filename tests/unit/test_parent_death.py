"""A child that is tied to a parent process ends with the parent."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from tests.fixtures.local_system import eventually

PARENT = """
import signal, subprocess, sys, time
from agentpool_core.process.parent_death import signal_on_parent_death
before_exec = signal_on_parent_death(signal.SIGKILL)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=before_exec)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its killed parent")
def test_a_killed_parents_child_ends_too():
    """SIGKILL leaves the parent no moment to tidy up, and still no child is left."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not alive(child), "the child is gone")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
