"""Writing the kubeconfig."""

import pytest

from agentpool_devcluster.api.kubeconfig import write_kubeconfig


def test_an_unwritable_kubeconfig_is_named_with_cause_and_remedy(tmp_path):
    """The error names the user's path, not the path of the temporary file."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "kubeconfig"
    with pytest.raises(OSError, match="cannot be written") as raised:
        write_kubeconfig(path, "http://127.0.0.1:1", "token")
    reason = "File exists" if "File exists" in str(raised.value) else "Not a directory"
    remedy = "name a file in a directory that you may write to"
    assert str(raised.value) == f"--kubeconfig: {path} cannot be written ({reason}); {remedy}"


def test_nothing_half_written_is_left(tmp_path):
    """If the file cannot be replaced, the temporary file is removed."""
    (tmp_path / "kubeconfig").mkdir()
    with pytest.raises(OSError, match=r"--kubeconfig: .*kubeconfig cannot be written"):
        write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", "token")
    assert [each.name for each in tmp_path.iterdir()] == ["kubeconfig"]
