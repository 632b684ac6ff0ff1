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
    (tmp_path / EXAMPLE.name).write_text(reading_until_the_kill(EXAMPLE.read_text()))
    promised = (
        "has the signal 'approval'",
        '{\n  "published": "An article from 3 pages about queues and page 2."\n}',
        "\nAn article from 3 pages about queues and page 2. \n",
        "event: end",
    )
    with closing(DevSystem("writer:app", cwd=tmp_path)) as system:
        printed = system.page(PAGE, tmp_path, *promised, within_s=280)
    rows = re.findall(r"^(model|tool \w+ call-\d|model#\d) +succeeded +(\d)", printed, re.MULTILINE)
    steps = dict(rows[1:])  # without the row that the reader waited for
    assert list(steps) == ["model", "tool search call-0", "model#2", "tool read call-1", "model#3"]
    assert steps["tool search call-0"] == "1"
    (writing,) = re.findall(r'"attempt": (\d+), "number": 1, "value": "An "', printed)
    assert int(writing) >= 2, "the first attempt was killed before the model wrote"


def reading_until_the_kill(source: str) -> str:
    """Return the example with a second tool that ends only in a process that did not search.

    A reader kills within the ten seconds of that tool; a slow machine may need longer to see the end of the first.
    """
    search, read = '    return f"3 pages about {topic}"', '    await asyncio.sleep(run.deps)\n    return f"page {page}"'
    assert (source.count(search), source.count(read)) == (1, 1)
    held = "    if hasattr(app, 'searched'):\n        await asyncio.Event().wait()\n"
    return source.replace(search, f"    app.searched = True\n{search}").replace(read, held + read)


def test_the_test_on_the_page_passes(tmp_path: Path):
    """The test passes in a file beside the example, as a reader saves both."""
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "test_writer.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:randomly", "--rootdir=."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
