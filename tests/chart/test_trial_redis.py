"""The bundled Redis with the chart's configuration: a real server on the rendered files."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError

from agentpool_core.jobs import JobRequest, JobState, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from agentpool_local.stack.redis_server import QUEUE_SETTINGS
from tests.chart.rendering import manifests, only
from tests.fixtures.redis import RedisServer

VALUES = {"redis": {"extraConfig": "maxmemory 64mb"}}
POOL = PoolRef("agents", "echo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """The server, and the chart's settings for that server."""

    server: RedisServer
    container: dict[str, Any]
    password: str
    address: str  # the URL in the Secret, which names a host of the cluster

    def url(self, password: str) -> str:
        """Return the chart's URL with the local address."""
        return f"redis://:{password}@127.0.0.1:{self.server.port}/0"


@pytest.fixture
def trial(tmp_path: Path, redis_server_factory: Callable[..., RedisServer]) -> Trial:
    """The bundled Redis at the chart's defaults, plus the line in VALUES."""
    return run_trial(VALUES, tmp_path, redis_server_factory)


def run_trial(values: dict[str, Any], tmp_path: Path, redis_server_factory: Callable[..., RedisServer]) -> Trial:
    """Write the files of ConfigMap and Secret below a folder as the StatefulSet mounts them, and start the server."""
    found = manifests(values)
    pod = only(found, "StatefulSet", "agentpool-redis")["spec"]["template"]["spec"]
    secret = only(found, "Secret", "agentpool-redis")["stringData"]
    (container,) = pod["containers"]
    given = {"config": only(found, "ConfigMap", "agentpool-redis")["data"]}
    given["auth"] = {item["path"]: secret[item["key"]] for v in pod["volumes"] if "secret" in v
                     for item in v["secret"]["items"]}  # fmt: skip
    for mount in container["volumeMounts"]:
        for name, text in given.get(mount["name"], {}).items():
            path = tmp_path / mount["mountPath"].lstrip("/")
            file = path if mount.get("subPath") == name else path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(re.sub(r"(?<= )/", f"{tmp_path}/", text))  # paths, at the beginning of a word
    program, file = container["command"]
    assert program == "valkey-server"
    (data,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert f"dir {tmp_path}{data}\n" in (tmp_path / file.lstrip("/")).read_text()
    (tmp_path / data.lstrip("/")).mkdir()
    server = redis_server_factory(f"{tmp_path}{file}")
    return Trial(server=server, container=container, password=secret["password"], address=secret["url"])


async def test_accepted_jobs_survive_a_crash_and_a_password_is_required(trial: Trial):
    """The server appends to a file, evicts nothing, has the settings of our other servers, and keeps all data."""
    stranger = connect(trial.url("guessed"))
    with pytest.raises(AuthenticationError):
        await stranger.ping()
    await stranger.aclose()
    redis = connect(trial.url(trial.password))
    settings = await redis.config_get("append*", "maxmemory*", *QUEUE_SETTINGS)
    assert settings.items() >= {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
                                "maxmemory": str(64 << 20), **QUEUE_SETTINGS}.items()  # fmt: skip
    await Inspector(redis).configure(POOL, PoolSettings())
    receipt = await Producer(redis, POOL).submit(JobRequest(kind="greet", payload={"hello": "world"}))
    async with redis.pipeline(transaction=False) as after:  # WAITAOF waits for writes of the same connection
        after.set("marker", 1)
        after.execute_command("WAITAOF", 1, 0, 10_000)  # milliseconds; with everysec the sync takes about a second
        assert (await after.execute())[-1][0] == 1
    await redis.aclose()
    trial.server.kill()
    trial.server.start()
    redis = connect(trial.url(trial.password))
    job = await Inspector(redis).job(POOL, receipt.job_id)
    assert (job.state, job.payload) == (JobState.QUEUED, {"hello": "world"})
    await redis.aclose()


def test_the_probe_needs_the_password_of_the_pod(trial: Trial, tmp_path: Path):
    """The readiness probe succeeds with the password in the pod's environment, and fails with a wrong password."""
    client = shutil.which("redis-cli")
    if client is None:
        pytest.skip("redis-cli is not on PATH; Debian's package redis-tools has it")
    shim = tmp_path / "valkey-cli"
    shim.write_text(f'#!/bin/sh\nexec {client} -p {trial.server.port} "$@"\n')
    shim.chmod(0o755)
    (variable,) = trial.container["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "agentpool-redis", "key": "password"}
    probe = trial.container["readinessProbe"]["exec"]["command"]
    for password, ready in ((trial.password, True), ("guessed", False)):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", variable["name"]: password}
        ended = subprocess.run(probe, env=environment, capture_output=True, check=False)
        assert (ended.returncode == 0) is ready, ended.stderr


@pytest.mark.parametrize("password", ["123456", "-x", "2024-01-01", 'p@s:s/w#1 "\\', "ключ-ü-鍵"])
async def test_any_password_works(tmp_path: Path, redis_server_factory: Callable[..., RedisServer], password: str):
    """The server reads the file, and the client reads the URL: both get the given password."""
    given = {"redis": {"auth": {"password": password}}}
    trial = run_trial(given, tmp_path, redis_server_factory)
    local = trial.address.replace("@agentpool-redis.agents.svc:6379/", f"@127.0.0.1:{trial.server.port}/")
    assert (trial.password, local != trial.address) == (password, True)
    redis = connect(local)
    assert await redis.ping()
    await redis.aclose()
