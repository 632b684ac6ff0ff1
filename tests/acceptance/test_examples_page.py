"""examples/README.md, run as by a reader, beside a running `agentpool dev`."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (shutil.which("kubectl") and shutil.which("node")), reason="kubectl and node are needed"),
]
CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "examples" / "README.md"


def test_every_example_runs_by_the_commands_of_the_page():
    """A Python agent, a JavaScript agent over HTTP and a shell agent run side by side, each with an AgentPool."""
    (start,) = re.findall(r"^\$ agentpool dev (.*)$", PAGE.read_text(), re.MULTILINE)
    images = [f"{name}={CHECKOUT / directory}" for name, directory in re.findall(r"--image ([^=]+)=(\S+)", start)]
    with closing(DevSystem(*(f"--image={image}" for image in images))) as system:
        system.page(PAGE, CHECKOUT, '"answer_in"', '"A rather longer sentence."', '"bytes"')
