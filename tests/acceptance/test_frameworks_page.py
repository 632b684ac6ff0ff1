"""docs/frameworks.md: its diffs are those of the examples, and its commands work beside `agentpool dev`."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "frameworks.md"
EXAMPLES = ("openai-client/support.py", "model-server/model_server.py")


def test_every_command_on_the_page_works(tmp_path: Path):
    """The job streams its answer, and its requests and tool calls are steps."""
    for name in EXAMPLES:
        shutil.copy(ROOT / "examples" / name, tmp_path)
    with closing(DevSystem(cwd=tmp_path)) as system:
        printed = system.page(PAGE, tmp_path, "An answer from 3 pages about queues and page 2. ", within_s=60)
    steps = re.findall(r"^(\S.*?) +succeeded +1 ", printed, re.MULTILINE)
    assert steps == ["model", "tool search call-0", "model#2", "tool read call-1", "model#3"], printed


def test_the_examples_have_the_lines_that_the_diffs_add():
    """A reader finds each added line of a diff in an example, and each diff changes two lines."""
    examples = "\n".join(path.read_text() for path in (ROOT / "examples").glob("*/*.py"))
    diffs = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    added = [line[1:].strip() for diff in diffs for line in diff.splitlines() if line.startswith("+")]
    assert len(added) >= 5
    assert [line for line in added if line not in examples] == []
