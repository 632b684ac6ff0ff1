"""The `kubernetes` package in the images of operator and gateway, without most of the modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import kubernetes
import pytest

from tests.chart.rendering import ROOT
from tests.fixtures.local_system import Program
from tests.fixtures.redis import RedisServer

TOOL = ROOT / "tools/slim_kubernetes.py"
PREPARATION = """
kubectl apply --server-side --filename crds/agentpools.yaml
kubectl wait --for=condition=Established crd/agentpools.agentpool.dev --timeout=30s
kubectl create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
kubectl label secret agentpool-redis agentpool.dev/redis=true
kubectl apply --filename - <<'EOF'
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: echo}
spec: {handler: {command: {argv: [cat]}}, scaling: {minReplicas: 1}}
EOF
kubectl create serviceaccount caller
kubectl create clusterrole caller --verb='*' --resource=agentpools.agentpool.dev,agentpools.agentpool.dev/jobs
kubectl create clusterrolebinding caller --clusterrole=caller --serviceaccount=default:caller
kubectl create token caller
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for PYTHONPATH with the slim package, made of links to the installed package."""
    folder = tmp_path_factory.mktemp("slim") / "site-packages"
    package = Path(kubernetes.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "kubernetes", copy_function=os.symlink, ignore=ignored)
    compiled = folder / "kubernetes/client/models/__pycache__/v1_pod.cpython-313.pyc"  # as pip leaves the files
    compiled.parent.mkdir()
    compiled.touch()
    done = subprocess.run([sys.executable, TOOL, folder.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("removed ")
    assert not compiled.exists()
    return folder


def test_the_slim_package_is_a_tenth_of_the_whole(site: Path):
    """The slim package has less than 10 MB; the whole package has more than 100."""
    kept = sum(path.stat().st_size for path in (site / "kubernetes").rglob("*.py"))
    whole = sum(path.stat().st_size for path in Path(kubernetes.__file__).parent.rglob("*.py"))
    assert kept * 10 < whole, (kept, whole)


@pytest.mark.parametrize(
    "module", ["agentpool_operator.process", "agentpool_operator.pools.watch_handlers", "agentpool_gateway.server"]
)
def test_the_processes_of_an_image_import_no_removed_module(site: Path, module: str):
    """Each module of a running operator or gateway loads from the slim package, and so do kopf's types."""
    program = (
        f"import {module}, kubernetes; from kubernetes.aio import client; client.ApiClient, client.Configuration;"
        "from kubernetes.client import V1ObjectMeta, V1OwnerReference; print(kubernetes.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == site / "kubernetes/__init__.py"


@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is needed")
def test_operator_and_gateway_serve_a_pool_with_the_slim_package(
    site: Path,
    tmp_path: Path,
    program: Callable[..., Program],
    redis_server_factory: Callable[..., RedisServer],
):
    """The operator creates workers; the gateway reviews the caller, finds the pool and returns the job's result."""
    cluster = program("devcluster", "--kubeconfig", str(tmp_path / "kubeconfig"))
    kubeconfig = cluster.until(r"export KUBECONFIG=(\S+)").group(1)
    environment = {"KUBECONFIG": kubeconfig, "REDIS_URL": redis_server_factory().tcp_url, "HOME": str(tmp_path)}
    token = shell(PREPARATION, environment).splitlines()[-1]
    slim = {"KUBECONFIG": kubeconfig, "PYTHONPATH": str(site)}
    operator = program("operator", "--health-port", "0", environment=slim)
    operator.until("leading")
    gateway = program("gateway", "--auth", "kubernetes", "--port", "0", environment=slim)
    url = gateway.until(r"gateway at (\S+)").group(1)
    shell("kubectl wait --for=condition=Ready agentpool/echo --timeout=60s", environment)
    request = urllib.request.Request(
        f"{url}/v1/namespaces/default/pools/echo/jobs?wait=30s",
        json.dumps({"kind": "greet", "payload": {"on": "less"}}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=40) as answer:
        assert json.loads(answer.read())["result"] == {"on": "less"}


def shell(script: str, environment: dict[str, str]) -> str:
    """Return the output of a script that must succeed."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_unexpected_package_is_refused(tmp_path: Path):
    """A folder without the package, or with a different layout, fails the image's build."""
    absent = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=False)
    assert (absent.returncode, "expected one" in absent.stderr) == (1, True)
    (tmp_path / "site-packages/kubernetes").mkdir(parents=True)
    other = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=False)
    assert (other.returncode, "compare GENERATED" in other.stderr) == (1, True)
