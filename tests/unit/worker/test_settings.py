"""A worker's own settings: their sources, and the names in their errors."""

from __future__ import annotations

from dataclasses import fields

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_worker import settings as settings_module
from agentpool_worker.settings import WorkerSettings, settings_from


def test_settings_come_from_flags_then_environment():
    """A flag wins over its variable, and the pod's namespace completes the pool's name."""
    environ = {
        "AGENTPOOL_REDIS_URL": "redis://a",
        "AGENTPOOL_POOL": "analysts",
        "AGENTPOOL_NAMESPACE": "research",
        "AGENTPOOL_WORKER": "pod-1",
        "AGENTPOOL_HTTP_PORT": "9000",
    }
    settings = settings_from(environ, redis_url="redis://b", concurrency=None)
    assert settings.redis_url == "redis://b"
    assert settings.pool == PoolRef("research", "analysts")
    assert (settings.worker, settings.http_port, settings.concurrency) == ("pod-1", 9000, None)


def test_a_worker_reads_the_redis_url_of_all_commands():
    """AGENTPOOL_REDIS_URL goes before REDIS_URL."""
    environ = {"AGENTPOOL_POOL": "p", "REDIS_URL": "redis://general"}
    assert settings_from(environ).redis_url == "redis://general"
    assert settings_from({**environ, "AGENTPOOL_REDIS_URL": "redis://ours"}).redis_url == "redis://ours"


@pytest.mark.parametrize(
    ("environ", "reported"),
    [
        ({}, "--pool \\(AGENTPOOL_POOL\\)"),
        ({"AGENTPOOL_POOL": "p"}, "--redis \\(AGENTPOOL_REDIS_URL\\)"),
        ({"AGENTPOOL_POOL": "P!", "AGENTPOOL_REDIS_URL": "redis://a"}, "not a Kubernetes name"),
        ({"AGENTPOOL_POOL": "p", "AGENTPOOL_REDIS_URL": "r", "AGENTPOOL_HTTP_PORT": "x"}, "AGENTPOOL_HTTP_PORT: 'x'"),
        ({"AGENTPOOL_POOL": "p", "AGENTPOOL_REDIS_URL": "r", "AGENTPOOL_CONCURRENCY": "0"}, "AGENTPOOL_CONCURRENCY"),
        (
            {"AGENTPOOL_POOL": "p", "AGENTPOOL_REDIS_URL": "r", "AGENTPOOL_MAINTENANCE_SECONDS": "-5"},
            "AGENTPOOL_MAINTENANCE_SECONDS",
        ),
    ],
)
def test_unusable_settings_name_the_variable(environ: dict[str, str], reported: str):
    """The error for a missing or bad value has the name that the user knows."""
    with pytest.raises(SettingError, match=reported):
        settings_from(environ)


def test_every_bound_is_of_a_setting():
    """A bound without a setting would never be checked."""
    assert set(settings_module._BOUNDS) <= {field.name for field in fields(WorkerSettings)}
