"""The life of a pool with kubectl and the command line, on any cluster.

An API server is enough, named by `--kubeconfig`.

The operator and Redis run beside the tests; no pod needs to start. Every test has a namespace of its own, which is
deleted after the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.fixtures.redis import wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
WITHIN_SECONDS = 40.0
NOWHERE = {"agentpool.dev/test": "no-node"}  # the jobs wait on any set of nodes


@pytest.fixture
def shell(api_kubeconfig, namespace, redis_server, start_operator, tmp_path):
    """Run a command as a user of the namespace would, while `operator` runs."""
    operator = start_operator()
    environment = {
        **os.environ,
        "KUBECONFIG": str(api_kubeconfig),
        "REDIS_URL": redis_server.tcp_url,
        "AGENTPOOL_NAMESPACE": namespace,
        "HOME": str(tmp_path),
    }

    def run(*command: str, document: object = None) -> subprocess.CompletedProcess[str]:
        assert operator.running(), operator.written()
        program = (
            [sys.executable, "-m", "agentpool_core"] if command[0] == "agentpool" else ["kubectl", "-n", namespace]
        )
        return subprocess.run(
            [*program, *command[1:]],
            input=None if document is None else json.dumps(document),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def done(shell):
    """Run a command that must succeed; return the output."""

    def run(*command: str, document: object = None) -> str:
        ran = shell(*command, document=document)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


@pytest.fixture
def agents(cluster, done, redis_server):
    """A pool that serves."""
    del cluster  # has the definition
    scaling = {
        "pollSeconds": 1,
        "idleSeconds": 1,
        "maxReplicas": 3,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}},
    }
    pool = {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": "agents"},
        "spec": {
            "handler": {"command": {"argv": ["cat"]}},
            "worker": {"concurrency": 1, "template": {"spec": {"nodeSelector": NOWHERE}}},
            "queue": {"redis": {"url": redis_server.tcp_url}},
            "scaling": scaling,
        },
    }
    done("kubectl", "apply", "-f", "-", document=pool)
    done("kubectl", "wait", "--for=condition=Ready", "agentpool/agents", "--timeout=40s")
    return "agents"


def size(done) -> str:
    """The number of workers that the operator has requested."""
    return done("kubectl", "get", "deployment/agents", "--output=jsonpath={.spec.replicas}")


async def test_jobs_scale_the_pool_out_and_user_changes_apply(agents, done):
    """Submit, pause, resume and scale each change the Deployment, and the status has the reason."""
    for number in range(3):
        done("agentpool", "submit", "greet", json.dumps({"n": number}), "--pool", agents)
    await wait_until(lambda: size(done) == "3", "a worker for each job", within_s=WITHIN_SECONDS)
    reason = done("kubectl", "get", "agentpool/agents", "--output=jsonpath={.status.lastDecision.reason}")
    assert "3 jobs wait" in reason
    done("agentpool", "pause", "--pool", agents)
    await wait_until(lambda: size(done) == "0", "a paused pool without workers", within_s=WITHIN_SECONDS)
    done("agentpool", "resume", "--pool", agents)
    await wait_until(lambda: size(done) == "3", "workers again", within_s=WITHIN_SECONDS)
    done("kubectl", "scale", "agentpool/agents", "--replicas=2")
    await wait_until(lambda: size(done) == "2", "the size set by hand", within_s=WITHIN_SECONDS)


async def test_a_deleted_pool_refuses_jobs(agents, done, shell):
    """The Deployment's owner is deleted, and within seconds the queue refuses a submit."""
    done("kubectl", "delete", "agentpool/agents", "--wait=true", "--timeout=40s")

    def refused() -> bool:
        return "deleted" in shell("agentpool", "submit", "greet", "{}", "--pool", agents).stderr

    await wait_until(refused, "a refusal", within_s=WITHIN_SECONDS)
