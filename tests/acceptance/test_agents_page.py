"""docs/agents.md, followed by a reader who saves the example and types the commands beside `agentpool dev`."""

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
    pytest.mark.timeout(360),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "agents.md"
EXAMPLE = ROOT / "examples" / "pydantic-agent" / "writer.py"


def test_every_command_on_the_page_works(tmp_path: Path):
    """The agent survives the kill without a repeated tool call, waits at zero workers, and streams its answer."""
    shutil.copy(EXAMPLE, tmp_path)
    promised = (
        "has the signal 'approval'",
        '{\n  "published": "An article from 3 pages about queues and page 2."\n}',
        "\nAn article from 3 pages about queues and page 2. \n",
        '"attempt": 2, "number": 1, "value": "An "',  # the first attempt was killed before the model wrote
        "event: end",
    )
    with closing(DevSystem("writer:app", cwd=tmp_path)) as system:
        printed = system.page(PAGE, tmp_path, *promised, within_s=280)
    rows = re.findall(r"^(model|tool \w+ call-\d|model#\d) +succeeded +(\d)", printed, re.MULTILINE)
    steps = dict(rows[1:])  # without the row that the reader waited for
    assert list(steps) == ["model", "tool search call-0", "model#2", "tool read call-1", "model#3"]
    assert steps["tool search call-0"] == "1"


def test_the_test_on_the_page_passes(tmp_path: Path):
    """The test passes in a file beside the example, as a reader saves both."""
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "test_writer.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:randomly", "--rootdir=."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
