"""The temporary directory of a run."""

import subprocess
import sys
import tempfile

import pytest

from agentpool_core.errors import SettingError
from agentpool_local.stack.workspace import Workspace


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_directory_goes_with_its_owner(tmp_path):
    """The directory is removed when the context ends."""
    with Workspace() as workspace:
        (workspace.directory("redis") / "data").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_the_directory_of_a_killed_owner(tmp_path):
    """The directory of a killed owner is removed by the next run; the directory of a live owner stays."""
    program = "import os; from agentpool_local.stack.workspace import Workspace; w = Workspace(); os._exit(9)"
    subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(tmp_path)}, check=False, timeout=30)
    (left,) = tmp_path.iterdir()
    with Workspace() as living, Workspace() as other:
        assert not left.exists()
        assert living.path.exists()
        assert other.path.exists()


def test_a_missing_permission_is_a_clear_error(tmp_path, monkeypatch):
    """The error for an unwritable temporary directory names the variable."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SettingError, match="TMPDIR"):
        Workspace()
