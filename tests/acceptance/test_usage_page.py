"""docs/usage.md, followed by a reader who saves the example and types the commands beside `agentpool dev`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
PAGE = Path(__file__).parents[2] / "docs" / "usage.md"
SOURCES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_command_on_the_page_works(tmp_path: Path):
    """The fifth call waits for the next window, another tenant goes on, and so does the tenant with a larger budget."""
    (tmp_path / "biller.py").write_text(SOURCES[0])
    promised = (
        '"output_tokens":40',
        "waiting: budget 'team-budget' has too little money left",
        '"An answer to another tenant"',
        '"An answer to 6"',
    )
    with closing(DevSystem("biller:app", cwd=tmp_path)) as system:
        printed = system.page(PAGE, tmp_path, *promised, within_s=200)
    table = [line.split() for line in printed.splitlines()]
    for row in (
        ["acme", "large", "1", "120", "40", "0.2"],
        ["total", "-", "1", "120", "40", "0.2"],
        ["team-budget", "acme", "a", "budget", "of", "50", "-"],  # no burst
    ):
        assert row in table, f"{row} is missing in\n{printed}"


def test_the_test_on_the_page_passes(tmp_path: Path):
    """The test passes in a file beside the example, as a reader saves both."""
    (tmp_path / "biller.py").write_text(SOURCES[0])
    (tmp_path / "test_biller.py").write_text(SOURCES[-1])
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:randomly", "--rootdir=."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
