"""Kubeconfigs."""

from __future__ import annotations

import base64

import pytest
import yaml

from agentpool_devcluster.kube.errors import KubeconfigError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig


def written(path, *, user=None, cluster=None, current="c"):
    config = {
        "current-context": current,
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_token_may_be_given_inline_or_in_a_file(tmp_path):
    """Both lead to the same header; a relative file name counts from the kubeconfig."""
    (tmp_path / "token").write_text("secret\n")
    for user in ({"token": "secret"}, {"tokenFile": "token"}):
        access = read_kubeconfig(written(tmp_path / "config", user=user))
        assert access.server == "http://127.0.0.1:1"
        assert access.headers == {"Authorization": "Bearer secret"}
        assert access.tls is None


def test_name_and_password_are_understood(tmp_path):
    """Both are sent in a basic authentication header."""
    access = read_kubeconfig(written(tmp_path / "config", user={"username": "a", "password": "b"}))
    assert access.headers == {"Authorization": f"Basic {base64.b64encode(b'a:b').decode()}"}


def test_the_verification_of_https_can_be_disabled(tmp_path):
    """Without verification no authority is needed."""
    cluster = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    assert read_kubeconfig(written(tmp_path / "config", cluster=cluster)).tls is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"user": {"exec": {"command": "aws"}}}, "exec plugin"),
        ({"current": "other"}, "none named 'other'"),
        ({"cluster": {"server": ""}}, "no server"),
        ({"cluster": {"server": "https://x", "certificate-authority": "gone.pem"}}, "cannot be used"),
    ],
)
def test_an_unusable_kubeconfig_is_named(tmp_path, change, named):
    """The message names the part and the file."""
    with pytest.raises(KubeconfigError, match=named) as caught:
        read_kubeconfig(written(tmp_path / "config", **change))
    assert str(tmp_path / "config") in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    """The error is a single line without a traceback."""
    with pytest.raises(KubeconfigError, match="cannot be read"):
        read_kubeconfig(tmp_path / "gone")
