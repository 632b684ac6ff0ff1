"""Starts the images that `tools/images.sh` has built, as root in their file systems, and has them do a job.

No test by its name, for it needs root, buildah and the images; pytest runs it where it is named:
`tools/images.sh && .venv/bin/python -m pytest tests/chart/run_images.py`. What an engine adds to a process (namespaces,
seccomp, limits, a root that cannot be written) is not tried.
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
# Nothing of these in a result; the worker keeps pip, with which users add packages.
BUILDERS = {part: ["gcc", "make", "git", *([] if part == "worker" else ["pip", "pip3"])] for part in PARTS}


def buildah(*arguments: str) -> str:
    """What buildah prints; it must succeed."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def ours(outer: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The image's own first processes, under those of buildah; a worker is the child of its supervisor."""
    found = []
    for one in psutil.Process(outer.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            parent = one.parent()
            # buildah's own have its arguments too
            if one.name() == "agentpool" and (parent is None or parent.name() != "agentpool"):
                found.append(one)
    return found


class Container:
    """A file system made from an image, in which commands run as the image's user."""

    def __init__(self, part: str) -> None:
        self.name = buildah("from", "--pull-never", f"localhost/agentpool-{part}")
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> str:
        """What a command prints."""
        return buildah("run", self.name, "--", *command)

    def start(self, *command: str, folder: Path) -> psutil.Process:
        """Starts a command that goes on, with a folder of the host's at `/given`; the process itself."""
        argv = ["buildah", "run", "--isolation", "chroot", "--volume", f"{folder}:/given:ro", self.name, "--", *command]
        outer = subprocess.Popen(argv)
        self._processes.append(outer)

        def begun() -> bool:
            assert outer.poll() is None, f"{command} has ended with {outer.returncode}"
            return bool(ours(outer))

        eventually(begun, f"{command} runs", within_s=30)
        return ours(outer)[0]

    def stopped(self) -> list[int]:
        """The exit codes of what was started, after SIGTERM to each process itself."""
        for outer in self._processes:
            for one in ours(outer):
                one.send_signal(signal.SIGTERM)
        return [outer.wait(STOP_WITHIN_SECONDS) for outer in self._processes]

    def close(self) -> None:
        """Ends what still runs, and the file system goes."""
        for outer in self._processes:
            outer.kill()
            outer.wait(STOP_WITHIN_SECONDS)
        buildah("rm", self.name)


@pytest.fixture
def container() -> Iterator[Callable[[str], Container]]:
    """Makes containers of a part's image."""
    made: list[Container] = []

    def make(part: str) -> Container:
        made.append(Container(part))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("part", PARTS)
def test_an_image_runs_its_command_as_a_plain_user(container, part: str):
    """Its user owns nothing that it runs, and finds nothing that builds."""
    inside = container(part)
    assert inside.run("id", "-u") == str(USER)
    assert f"Usage: agentpool {part}" in inside.run("agentpool", part, "--help")
    assert inside.run("sh", "-c", "touch /app/x /opt/agentpool/x 2>/dev/null; ls /app") == ""
    assert inside.run("sh", "-c", f"for it in {' '.join(BUILDERS[part])}; do command -v $it; done; true") == ""


def answered(url: str, document: object = None) -> str | None:
    """The body of an answer; None: it does not answer yet."""
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
    """Over HTTP, both as the images' user; at SIGTERM both drain and end with 0."""
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
    """It becomes ready on the devcluster, as the image's user, and ends with 0 at SIGTERM."""
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
