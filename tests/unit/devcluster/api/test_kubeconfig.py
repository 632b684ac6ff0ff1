"""Writing the kubeconfig."""

import pytest

from agentpool_devcluster.api.kubeconfig import write_kubeconfig


def test_a_kubeconfig_that_cannot_be_written_is_named_with_why_and_what_to_do(tmp_path):
    """The user reads the path that he gave, not the one of the file that is written first."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "kubeconfig"
    with pytest.raises(OSError, match="cannot be written") as raised:
        write_kubeconfig(path, "http://127.0.0.1:1", "token")
    reason = "File exists" if "File exists" in str(raised.value) else "Not a directory"
    remedy = "name a file in a directory that you may write to"
    assert str(raised.value) == f"--kubeconfig: {path} cannot be written ({reason}); {remedy}"


def test_nothing_half_written_is_left(tmp_path):
    """Where the file itself cannot be replaced, the new one goes again."""
    (tmp_path / "kubeconfig").mkdir()
    with pytest.raises(OSError, match=r"--kubeconfig: .*kubeconfig cannot be written"):
        write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", "token")
    assert [each.name for each in tmp_path.iterdir()] == ["kubeconfig"]
