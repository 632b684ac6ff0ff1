"""Which pool and which Redis a command means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentpool_core.cli.target import target_of
from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import kubeconfig

KUBECONFIG = """
contexts: [{name: here, context: {cluster: c, user: u, namespace: research}}]
current-context: here
"""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AGENTPOOL_POOL", "AGENTPOOL_NAMESPACE", "AGENTPOOL_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    """A flag overrides its variable."""
    monkeypatch.setenv("AGENTPOOL_POOL", "other/pool")
    monkeypatch.setenv("REDIS_URL", "redis://env")
    target = target_of("research/analysts", None, "redis://flag")
    assert (target.pool, target.redis) == (PoolRef("research", "analysts"), "redis://flag")


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch):
    """A pod or a shell with the variables needs no flags; AGENTPOOL_REDIS_URL goes before REDIS_URL."""
    monkeypatch.setenv("AGENTPOOL_POOL", "analysts")
    monkeypatch.setenv("AGENTPOOL_NAMESPACE", "research")
    monkeypatch.setenv("REDIS_URL", "redis://general")
    monkeypatch.setenv("AGENTPOOL_REDIS_URL", "redis://ours")
    target = target_of(None, None, None)
    assert (target.pool, target.redis) == (PoolRef("research", "analysts"), "redis://ours")


def test_the_kubeconfig_sets_the_namespace(tmp_path: Path):
    """A bare name means the namespace of the current context, as for kubectl."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    assert target_of("analysts", None, None).pool == PoolRef("research", "analysts")
    assert target_of("analysts", "other", None).pool == PoolRef("other", "analysts")


def test_without_anything_the_namespace_is_default():
    """A name without a namespace means `default`, as for kubectl."""
    assert target_of("analysts", None, None).pool == PoolRef("default", "analysts")


def test_no_pool_is_an_error_with_the_remedy():
    """The error names the flag to pass."""
    with pytest.raises(
        SettingError, match=r"^--pool: no pool is named; pass --pool NAMESPACE/NAME, or set AGENTPOOL_POOL"
    ):
        target_of(None, None, None)


def test_two_different_namespaces_are_refused():
    """Contradicting flags are refused, not ordered."""
    with pytest.raises(SettingError, match="name the namespace once"):
        target_of("research/analysts", "other", None)


async def test_without_a_redis_setting_the_remedy_is_shown(tmp_path: Path):
    """No flag, no variable, no kubeconfig: the error is a single line, and names a KUBECONFIG that does not exist."""
    with pytest.raises(SettingError, match="pass --redis URL, or set AGENTPOOL_REDIS_URL or REDIS_URL") as caught:
        await target_of("a/b", None, None).connect()
    assert f"and KUBECONFIG names {tmp_path}/kubeconfig, which does not exist" in str(caught.value)
    assert "start `agentpool dev`, and paste its export lines here" in str(caught.value)
    assert "None" not in str(caught.value)


async def test_an_unreachable_cluster_is_no_wrong_usage(tmp_path: Path):
    """The flags are right, so the exit code is 1; the remedy is shown."""
    user = "users: [{name: u, user: {token: t}}]"
    cluster = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]"
    (tmp_path / "kubeconfig").write_text(f"{KUBECONFIG}{cluster}\n{user}\n")
    with pytest.raises(ClusterError, match=r"cannot read the queue's Redis .* pass --redis URL") as caught:
        await target_of("a/b", None, None).connect()
    assert caught.value.exit_code == 1


def test_existing_kubeconfigs_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """KUBECONFIG may list files that are not there, as for kubectl."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    assert kubeconfig.missing() is None
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nothing{os.pathsep}{tmp_path}/kubeconfig")
    assert (kubeconfig.files(), kubeconfig.missing()) == ([tmp_path / "kubeconfig"], None)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nothing")
    assert (kubeconfig.files(), kubeconfig.missing()) == ([], tmp_path / "nothing")
