"""The previous release beside this one, under load: nothing is lost, and no job dies of the difference."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agentpool_core.doctor.cluster import CRD_PATH
from agentpool_core.jobs import JobState, PoolRef
from agentpool_core.queue import Inspector
from agentpool_core.queue.audit import audit
from tests.fixtures.operators import Process
from tests.fixtures.redis import wait_until

from .previous import COMMIT, PRESENT, VERSION, Release, previous_release

HERE = Path(__file__).parent
FAMILIES = 25  # of eight jobs, by each client
WITHIN_SECONDS = 120.0
QUEUE = {
    "limits": [
        {"name": "model", "by": "key", "maxRunning": 2},
        {"name": "retries", "kinds": ["flaky"], "rate": {"count": 100, "periodSeconds": 1, "burst": 5}},
    ],
    "tenants": [{"name": "tenant-1", "weight": 3}],
}


@pytest.fixture(scope="session")
def previous(tmp_path_factory) -> Release:
    found = previous_release(tmp_path_factory.mktemp("previous"))
    if found is None:
        pytest.skip(f"release {VERSION} is not in this checkout's history: git fetch origin {COMMIT}")
    return found


@pytest.fixture
async def apply_definition(cluster):
    """Install a release's definition of the AgentPool; the present one comes back with the end."""

    async def apply(release: Release) -> None:
        await cluster.apply(CRD_PATH, yaml.safe_load(release.definition.read_text()), manager="test")

    yield apply
    await apply(PRESENT)


@pytest.fixture
def start_load(redis_server, namespace, tmp_path):
    """Start a client of a release; all are ended afterwards."""
    started = []

    def start(release: Release, name: str) -> Process:
        arguments = [redis_server.tcp_url, f"{namespace}/agents", name, str(FAMILIES)]
        started.append(Process(tmp_path / name, "load", *arguments, environment=release.environment(HERE)))
        return started[-1]

    yield start
    for load in started:
        load.close()


@pytest.fixture
def start_worker(start_workers, redis_server, namespace):
    """Start a worker of a release."""
    workers = start_workers(redis_server.tcp_url, PoolRef(namespace, "agents"))
    return lambda release: workers.start(app="handlers:app", **release.environment(HERE))


@pytest.fixture
def start_release(apply_definition, start_operator):
    """Install a release's definition of the AgentPool and start its operator."""

    async def start(release: Release):
        await apply_definition(release)
        return start_operator(environment=release.environment())

    return start


def is_under_way(load: Process) -> bool:
    """Whether a third of the jobs are submitted."""
    return len(load.written().split()) > FAMILIES // 3


def test_the_programs_of_the_previous_release_run_from_its_own_files(previous):
    """The search path puts the release before the installed packages."""
    for module in ("agentpool_core", "agentpool_operator", "agentpool_worker"):
        code = f"import {module}; print({module}.__file__)"
        environment = os.environ | previous.environment()
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert Path(found.stdout.strip()).is_relative_to(previous.root)


@pytest.mark.parametrize("order", ["upgrade", "downgrade"])
async def test_jobs_survive_a_change_of_release_under_load(
    order, previous, start_release, start_worker, start_load, pool_of, look, redis, redis_server, namespace
):
    """Clients, workers, operator and definition of one release give way to the other's, and a worker is killed."""
    before, after = (previous, PRESENT) if order == "upgrade" else (PRESENT, previous)
    operator = await start_release(before)
    await pool_of(queue={"redis": {"url": redis_server.tcp_url}, **QUEUE})

    async def is_ready() -> bool:
        return await look.condition("Ready") == ("True", "Serving")

    await wait_until(is_ready, "the pool is ready", within_s=WITHIN_SECONDS)
    killed, leaving = start_worker(before), start_worker(before)
    loads = [start_load(before, "before")]
    await wait_until(lambda: is_under_way(loads[0]), "jobs are under way", within_s=WITHIN_SECONDS)

    operator.stop()
    await start_release(after)
    start_worker(after)
    loads.append(start_load(after, "after"))
    await wait_until(lambda: is_under_way(loads[1]), "jobs of the other release are under way", within_s=WITHIN_SECONDS)
    killed.worker_process().kill()
    leaving.send(signal.SIGTERM)

    for load in loads:
        await wait_until(lambda load=load: not load.running(), "the client has all results", within_s=WITHIN_SECONDS)
        assert load.stop() == 0, load.written()[-2000:]
    pool = PoolRef(namespace, "agents")
    assert await Inspector(redis).jobs(pool, JobState.FAILED) == []
    assert await audit(redis, pool) == []
