"""Start the images of `tools/images.sh` as root in their file systems, and let the images run a job.

The file has no test's name, because the run needs root, buildah and the images; pytest runs the file by name:
`tools/images.sh && .venv/bin/python -m pytest tests/chart/run_images.py`. The additions of an engine to a process
(namespaces, seccomp, limits, a read-only root) are not covered.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.local_system import eventually
from tests.fixtures.redis import RedisServer, free_port

PARTS = ("operator", "worker", "gateway")
USER = 65532
STOP_WITHIN_SECONDS = 30
TOKEN = "a-token-of-the-image-tests"
# None of these may be in a result; the worker keeps pip, with which users add packages.
BUILDERS = {part: ["gcc", "make", "git", *([] if part == "worker" else ["pip", "pip3"])] for part in PARTS}


def buildah(*arguments: str) -> str:
    """Return the output of buildah, which must succeed."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def ours(outer: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the image's first processes, under those of buildah; a worker is the child of a supervisor."""
    found = []
    for one in psutil.Process(outer.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # the process has ended meanwhile
            parent = one.parent()
            # buildah's own processes have the same arguments too
            if one.name() == "agentpool" and (parent is None or parent.name() != "agentpool"):
                found.append(one)
    return found


class Container:
    """A file system made from an image, for commands as the image's user."""

    def __init__(self, part: str) -> None:
        self.name = buildah("from", "--pull-never", f"localhost/agentpool-{part}")
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> str:
        """Return the output of a command."""
        return buildah("run", self.name, "--", *command)

    def start(self, *command: str, folder: Path) -> psutil.Process:
        """Start a command in the background, with a folder of the host at `/given`; return the process."""
        argv = ["buildah", "run", "--isolation", "chroot", "--volume", f"{folder}:/given:ro", self.name, "--", *command]
        outer = subprocess.Popen(argv)
        self._processes.append(outer)

        def begun() -> bool:
            assert outer.poll() is None, f"{command} has ended with {outer.returncode}"
            return bool(ours(outer))

        eventually(begun, f"{command} runs", within_s=30)
        return ours(outer)[0]

    def stopped(self) -> list[int]:
        """Send SIGTERM to each started process; return the exit codes."""
        for outer in self._processes:
            for one in ours(outer):
                one.send_signal(signal.SIGTERM)
        return [outer.wait(STOP_WITHIN_SECONDS) for outer in self._processes]

    def close(self) -> None:
        """End all running processes and remove the file system."""
        for outer in self._processes:
            outer.kill()
            outer.wait(STOP_WITHIN_SECONDS)
        buildah("rm", self.name)


@pytest.fixture
def container() -> Iterator[Callable[[str], Container]]:
    """Create containers of a component's image."""
    made: list[Container] = []

    def make(part: str) -> Container:
        made.append(Container(part))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("part", PARTS)
def test_an_image_runs_its_command_as_a_plain_user(container, part: str):
    """The user owns no executable of the image, and finds no build tool."""
    inside = container(part)
    assert inside.run("id", "-u") == str(USER)
    assert f"Usage: agentpool {part}" in inside.run("agentpool", part, "--help")
    assert inside.run("sh", "-c", "touch /app/x /opt/agentpool/x 2>/dev/null; ls /app") == ""
    assert inside.run("sh", "-c", f"for it in {' '.join(BUILDERS[part])}; do command -v $it; done; true") == ""


def answered(url: str, document: object = None) -> str | None:
    """Return the body of an answer, or None before the first answer."""
    data = None if document is None else json.dumps(document).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=40) as answer:
            return answer.read().decode()
    except OSError:
        return None


@pytest.mark.timeout(180)
def test_a_job_goes_from_the_gateways_image_to_the_workers_and_back(
    container, tmp_path: Path, redis_server_factory: Callable[..., RedisServer]
):
    """Both run over HTTP as the images' user; at SIGTERM both drain and exit with 0."""
    redis, port, probes = redis_server_factory().tcp_url, free_port(), free_port()
    (tmp_path / "tokens.yaml").write_text(json.dumps({"tokens": [{"name": "lead", "token": TOKEN}]}))
    for path in (tmp_path, *tmp_path.parents[:3], tmp_path / "tokens.yaml"):
        path.chmod(0o755)
    worker, gateway = container("worker"), container("gateway")
    working = worker.start(
        *f"agentpool worker --handler-command cat --redis {redis} --pool default/echo".split(),
        *("--http-host", "127.0.0.1", "--http-port", str(probes)),
        folder=tmp_path,
    )
    serving = gateway.start(
        *f"agentpool gateway --redis {redis} --tokens /given/tokens.yaml --port {port}".split(), folder=tmp_path
    )
    assert {working.uids().effective, serving.uids().effective} == {USER}
    eventually(lambda: answered(f"http://127.0.0.1:{probes}/readyz"), "the worker is ready", within_s=40)
    eventually(lambda: answered(f"http://127.0.0.1:{port}/readyz"), "the gateway is ready", within_s=40)
    jobs = f"http://127.0.0.1:{port}/v1/namespaces/default/pools/echo/jobs?wait=30s"
    done = answered(jobs, {"kind": "greet", "payload": {"over": "images"}})
    assert done is not None
    assert json.loads(done)["result"] == {"over": "images"}
    assert worker.stopped() + gateway.stopped() == [0, 0]


@pytest.mark.timeout(180)
def test_the_operators_image_leads_on_a_cluster(container, tmp_path: Path, program):
    """The operator becomes ready on the devcluster, as the image's user, and exits with 0 at SIGTERM."""
    cluster = program("devcluster", "--kubeconfig", str(tmp_path / "kubeconfig"))
    cluster.until(r"export KUBECONFIG=(\S+)")
    crd = Path(__file__).parents[2] / "crds/agentpools.yaml"
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    subprocess.run(["kubectl", "apply", "--server-side", "--filename", crd], check=True, env=environment)
    for path in (tmp_path, *tmp_path.parents[:3], tmp_path / "kubeconfig"):
        path.chmod(0o755)
    port = free_port()
    operator = container("operator")
    argv = f"env KUBECONFIG=/given/kubeconfig agentpool operator --health-port {port}"
    leading = operator.start(*argv.split(), folder=tmp_path)
    assert leading.uids().effective == USER
    eventually(lambda: answered(f"http://127.0.0.1:{port}/readyz"), "the operator is ready", within_s=60)
    assert operator.stopped() == [0]
