"""Which pool and which Redis a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentpool.commands.target import target_of
from agentpool.errors import SettingError
from agentpool.jobs import PoolRef

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
    """What is typed is what is meant."""
    monkeypatch.setenv("AGENTPOOL_POOL", "other/pool")
    monkeypatch.setenv("REDIS_URL", "redis://env")
    target = target_of("research/analysts", None, "redis://flag")
    assert (target.pool, target.redis) == (PoolRef("research", "analysts"), "redis://flag")


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch):
    """A pod or a shell that has it set up needs no flags; our own variable goes before the general one."""
    monkeypatch.setenv("AGENTPOOL_POOL", "analysts")
    monkeypatch.setenv("AGENTPOOL_NAMESPACE", "research")
    monkeypatch.setenv("REDIS_URL", "redis://general")
    monkeypatch.setenv("AGENTPOOL_REDIS_URL", "redis://ours")
    target = target_of(None, None, None)
    assert (target.pool, target.redis) == (PoolRef("research", "analysts"), "redis://ours")


def test_the_kubeconfig_says_the_namespace(tmp_path: Path):
    """As kubectl does, a bare name means the current context's namespace."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    assert target_of("analysts", None, None).pool == PoolRef("research", "analysts")
    assert target_of("analysts", "other", None).pool == PoolRef("other", "analysts")


def test_without_anything_the_namespace_is_default():
    """As kubectl has it."""
    assert target_of("analysts", None, None).pool == PoolRef("default", "analysts")


def test_no_pool_is_an_error_with_the_remedy():
    """The line says what to pass."""
    with pytest.raises(SettingError, match="pass --pool NAMESPACE/NAME, or set AGENTPOOL_POOL"):
        target_of(None, None, None)


def test_two_namespaces_are_one_too_many():
    """Contradicting flags are refused, not ordered."""
    with pytest.raises(SettingError, match="name the namespace once"):
        target_of("research/analysts", "other", None)


async def test_without_any_word_on_redis_the_remedy_is_told():
    """No flag, no variable, no kubeconfig: one line."""
    with pytest.raises(SettingError, match="pass --redis URL, or set AGENTPOOL_REDIS_URL or REDIS_URL"):
        await target_of("a/b", None, None).redis_url()
