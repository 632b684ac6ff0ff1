"""The one temporary directory."""

import subprocess
import sys
import tempfile

import pytest

from agentpool_core.errors import SettingError
from agentpool_local.stack.workspace import Workspace


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_goes_with_its_owner(tmp_path):
    """Nothing is left when the context ends."""
    with Workspace() as workspace:
        (workspace.directory("redis") / "data").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_swept_by_the_next(tmp_path):
    """A directory whose owner was killed goes when the next one is made; a living owner's stays."""
    program = "import os; from agentpool_local.stack.workspace import Workspace; w = Workspace(); os._exit(9)"
    subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(tmp_path)}, check=False, timeout=30)
    (left,) = tmp_path.iterdir()
    with Workspace() as living, Workspace() as other:
        assert not left.exists()
        assert living.path.exists()
        assert other.path.exists()


def test_no_permission_is_one_clear_error(tmp_path, monkeypatch):
    """A temporary directory that cannot be written is named with its variable."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SettingError, match="TMPDIR"):
        Workspace()
