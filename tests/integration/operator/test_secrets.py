"""Passwords stay in their Secret: the test searches every trace of a pool, also of a pool with a wrong password."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import connect
from tests.fixtures.local_system import AGENTPOOL, command_line, eventually
from tests.fixtures.operators import Process

PASSWORD = "correct-horse-battery-staple"
WRONG = "incorrect-horse-battery-staple"


@pytest.fixture
def kubectl(kubeconfig, tmp_path):
    def run(*arguments, document=None):
        done = subprocess.run(
            ["kubectl", *arguments],
            input=document and json.dumps(document),
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    return run


def manifests(namespace, server):
    """A Secret and a pool for each password, right and wrong."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    for name, password in (("good", PASSWORD), ("bad", WRONG)):
        url = f"redis://:{password}@127.0.0.1:{server.port}/0"
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": url}}
        labels = {"agentpool.dev/redis": "true"}
        yield {**secret, "metadata": {"name": name, "namespace": namespace, "labels": labels}}
        yield {
            "apiVersion": "agentpool.dev/v1alpha1",
            "kind": "AgentPool",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "handler": {"command": {"argv": ["cat"]}},
                "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": name, "key": "url"}}}},
                "scaling": {"minReplicas": 1, "pollSeconds": 1},
            },
        }


@pytest.mark.timeout(240)
def test_no_secret_is_seen_outside_its_secret(
    kubectl, kubeconfig, namespace_name, tmp_path, redis_server_factory, kubectl_program
):
    """No log, event, object or process argument contains a password of Redis, right or wrong."""
    server = redis_server_factory("--requirepass", PASSWORD)
    crd = subprocess.run([*AGENTPOOL, "crd"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "crd.yaml").write_text(crd)
    kubectl("apply", "-f", str(tmp_path / "crd.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/agentpools.agentpool.dev", "--timeout=30s")
    operator = Process(
        tmp_path / "operator.log", "agentpool_core", "operator", "--kubeconfig", str(kubeconfig), "--health-host",
        "127.0.0.1", "--health-port", "0", "--namespace", namespace_name, "--lease-namespace", namespace_name,
        "--log-level", "debug",
    )  # fmt: skip
    arguments: set[str] = set()

    def look() -> None:
        for each in psutil.process_iter():
            arguments.update(command_line(each))

    def reported(pool: str, words: str) -> bool:
        look()
        return words in kubectl("get", "agentpool", pool, "-n", namespace_name, "-o", "json")

    try:
        for document in manifests(namespace_name, server):
            kubectl("apply", "-f", "-", document=document)
        eventually(lambda: reported("bad", "RedisAuthFailed"), "the wrong password is reported", within_s=60)
        eventually(lambda: reported("good", '"readyReplicas": 1'), "the right one serves", within_s=60)
        environment = {**os.environ, "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"}
        pool = str(PoolRef(namespace_name, "good"))
        ran = subprocess.run(
            [sys.executable, "-m", "agentpool_core", "submit", "echo", "1", "--pool", pool],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        kinds = "agentpools,deployments,replicasets,pods,events,configmaps,leases,serviceaccounts"
        seen = {
            "objects": kubectl("get", kinds, "-n", namespace_name, "-o", "json"),
            "described": kubectl("describe", "agentpools,pods,deployments", "-n", namespace_name),
            "logs of good": kubectl("logs", "-n", namespace_name, "-l", "agentpool.dev/pool=good", "--tail=-1"),
            "logs of bad": kubectl("logs", "-n", namespace_name, "-l", "agentpool.dev/pool=bad", "--tail=-1"),
            "operator": operator.written(),
            "submit": ran.stdout + ran.stderr,
            "arguments": "\n".join(arguments),
        }
    finally:
        kubectl("delete", "agentpool", "good", "bad", "-n", namespace_name)
        operator.stop()
    assert "AgentPool" in seen["objects"]
    assert "serving" in seen["operator"]
    for place, text in seen.items():
        assert "horse" not in text, f"{place} contains a password: {text[max(0, text.find('horse') - 200) :][:400]}"


def test_a_client_does_not_show_its_password():
    """Neither the client's text nor the connection pool's contains the password."""
    client = connect(f"redis://user:{PASSWORD}@127.0.0.1:1/0")
    assert PASSWORD not in repr(client)
