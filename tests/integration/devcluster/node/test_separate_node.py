"""A node in a separate process, joined by a kubeconfig alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from agentpool_devcluster.kube.resources import NODES
from tests.fixtures.redis import wait_until

from .conftest import is_alive


@pytest.fixture
def node_specs():
    return ()


@contextmanager
def separate_node(kubeconfig, tmp_path):
    command = [sys.executable, "-m", "agentpool_devcluster.node", "--kubeconfig", str(kubeconfig), "--node", "far"]
    with subprocess.Popen(command, env={"TMPDIR": str(tmp_path / "state")}, stdout=subprocess.PIPE, text=True) as node:
        try:
            yield node
        finally:
            node.kill()


async def until_pid(kube, name):
    async def logged():
        return (await kube.log(name)).strip()

    return int(await wait_until(logged, "the pod has written its process id"))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_a_node_in_a_separate_process_leaves_nothing(kube, cluster, tmp_path, ending):
    """The node runs pods and serves logs; neither SIGTERM nor SIGKILL leaves a process or a file."""
    state = tmp_path / "state"
    state.mkdir()
    with separate_node(cluster.kubeconfig, tmp_path) as node:
        await kube.until_node_ready("far")
        await kube.run("there", "sh", "-c", "echo $$$$; exec sleep 600", terminationGracePeriodSeconds=1)
        await kube.until_ready("there")
        pid = await until_pid(kube, "there")
        assert is_alive(pid)
        node.send_signal(ending)

        async def gone():
            return node.poll() is not None and not is_alive(pid) and not list(state.iterdir())

        await wait_until(gone, "neither process nor file is left")
        if ending is signal.SIGTERM:
            assert node.returncode == 0
            assert (await kube.pod("there"))["status"]["reason"] == "Terminated"
        assert (await kube.client.get(NODES, None, "far"))["metadata"]["name"] == "far"
