"""examples/README.md, run as a reader would run it, beside a running `agentpool dev`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (shutil.which("kubectl") and shutil.which("node")), reason="kubectl and node are needed"),
]
CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "examples" / "README.md"


def test_every_example_runs_by_the_page_s_own_commands():
    """A Python agent, one in JavaScript over HTTP and one in shell, each with its own AgentPool, beside each other."""
    (start,) = re.findall(r"^\$ agentpool dev (.*)$", PAGE.read_text(), re.MULTILINE)
    images = [f"{name}={CHECKOUT / directory}" for name, directory in re.findall(r"--image ([^=]+)=(\S+)", start)]
    system = DevSystem(*(f"--image={image}" for image in images))
    try:
        done = system.page(PAGE, CHECKOUT)
    finally:
        system.close()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{system.output}"
    for promised in ('"answer_in"', '"A rather longer sentence."', '"bytes"'):
        assert promised in done.stdout, f"{promised!r} is missing in\n{done.stdout}\n{done.stderr}"
