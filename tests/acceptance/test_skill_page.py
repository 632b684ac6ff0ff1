"""SKILL.md, run as by an agent, beside a running `agentpool dev`."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
PAGE = Path(__file__).parents[2] / "SKILL.md"
PROMISED = ("3 passed", '"words": 3', "\n3\n", "no such jobs in pool", "✓ crd", '"textagent" deleted')


def test_every_command_on_the_page_works(tmp_path: Path):
    """Handlers are written, tested, run as a pool and removed again."""
    with closing(DevSystem(f"--image=textagent={tmp_path}")) as system:
        system.page(PAGE, tmp_path, *PROMISED)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in {".py", ".yaml"}] == []
