"""Containers as real processes: groups, guard, mounts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from agentpool_devcluster.node.guardian import Guardian
from agentpool_devcluster.node.log_file import LogQuery, read_log
from agentpool_devcluster.node.mounts import mounting_command, mounts_supported, plan_mounts
from agentpool_devcluster.node.process import Launch, LocalProcess, run_command
from tests.fixtures.redis import wait_until

from .conftest import is_alive

SURROUNDINGS = {"PATH": os.environ["PATH"]}


async def wait_until_gone(pid):
    await wait_until(lambda: not is_alive(pid), f"process {pid} is gone")


@pytest.fixture
async def guardian(tmp_path):
    guardian = Guardian.start(tmp_path / "state")
    yield guardian
    await guardian.stop()


def launch(tmp_path, script):
    return Launch(command=["sh", "-c", script], environment=SURROUNDINGS, directory=str(tmp_path))


async def test_output_and_exit_code_are_kept(guardian, tmp_path):
    """Both streams reach the log, and the exit code is the process's own."""
    process = await LocalProcess.start(launch(tmp_path, "echo out; echo err >&2; exit 3"), guardian, tmp_path / "log")
    assert await process.wait() == 3
    await process.clear_up()
    assert sorted(read_log(tmp_path / "log", LogQuery()).splitlines()) == [b"err", b"out"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_child_processes_end_with_the_container(guardian, tmp_path):
    """A background child does not outlive the container."""
    process = await LocalProcess.start(launch(tmp_path, "sleep 60 & echo $!"), guardian, tmp_path / "log")
    assert await process.wait() == 0
    await process.clear_up()
    await wait_until_gone(int(read_log(tmp_path / "log", LogQuery())))


async def test_a_signal_s_exit_code_is_128_and_its_number(guardian, tmp_path):
    """SIGTERM makes 143, as in a container."""
    process = await LocalProcess.start(launch(tmp_path, "exec sleep 60"), guardian, tmp_path / "log")
    process.terminate()
    assert await process.wait() == 143
    await process.clear_up()


async def test_a_command_beside_the_container_has_a_time_limit(tmp_path):
    """A probe's command returns code and output, and is ended after a timeout."""
    here = launch(tmp_path, "true")
    assert await run_command(here, ["sh", "-c", "echo no; exit 4"], 5) == (4, "no\n")
    with pytest.raises(TimeoutError):
        await run_command(here, ["sleep", "60"], 0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_processes_and_files_of_a_killed_node_are_removed(tmp_path):
    """After `kill -9` of the node's process, the guard ends containers with grandchildren, and removes the files."""
    state = tmp_path / "state"
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from agentpool_devcluster.node.guardian import Guardian
        from agentpool_devcluster.node.process import Launch, LocalProcess

        async def main():
            state = Path({str(state)!r})
            state.mkdir()
            guardian = Guardian.start(state)
            script = "sleep 60 & echo $! > child; wait"
            launch = Launch(command=["sh", "-c", script], environment={SURROUNDINGS!r}, directory={str(tmp_path)!r})
            process = await LocalProcess.start(launch, guardian, state / "log")
            print(process.pid, guardian._process.pid, flush=True)
            await process.wait()

        asyncio.run(main())
    """)
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    container, guard = map(int, (await node.stdout.readline()).split())
    child_file = tmp_path / "child"
    await wait_until(lambda: child_file.exists() and child_file.read_text().strip(), "the container has told its child")
    node.kill()
    await node.communicate()
    for pid in (container, int(child_file.read_text()), guard):
        await wait_until_gone(pid)
    assert not state.exists()


@pytest.mark.skipif(not mounts_supported(), reason="this host has no mount namespaces")
async def test_volumes_appear_where_the_container_expects_them_and_nowhere_else(tmp_path):
    """New paths, paths within volumes, single files and read-only mounts exist; the host sees none of them."""
    volumes = {"data": tmp_path / "data", "conf": tmp_path / "conf"}
    for directory in [*volumes.values(), tmp_path / "staging", tmp_path / "home"]:
        directory.mkdir()
    (volumes["conf"] / "a.txt").write_text("alpha\n")
    container = {
        "volumeMounts": [
            {"name": "conf", "mountPath": "/agentpool-test/data/conf", "readOnly": True},
            {"name": "data", "mountPath": "/agentpool-test/data"},
            {"name": "conf", "mountPath": "/etc/agentpool-test/one.txt", "subPath": "a.txt"},
        ]
    }
    script = (
        "set -e; cat /agentpool-test/data/conf/a.txt /etc/agentpool-test/one.txt; echo kept > /agentpool-test/data/out;"
        "pwd; ! touch /agentpool-test/data/conf/no 2>/dev/null"
    )
    command = mounting_command(
        plan_mounts(container, volumes, {}), tmp_path / "staging", str(tmp_path / "home"), ["sh", "-c", script]
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().splitlines() == ["alpha", "alpha", str(tmp_path / "home")]
    assert (volumes["data"] / "out").read_text() == "kept\n"
    assert not [path for top in ("/", "/etc") for path in os.scandir(top) if path.name == "agentpool-test"]


@pytest.mark.skipif(not mounts_supported(), reason="this host has no mount namespaces")
async def test_a_volume_hides_no_file_of_the_image(tmp_path):
    """A checkout may lie under /tmp, where many a container mounts a volume."""
    volume, code = tmp_path / "scratch", tmp_path / "work" / "checkout"
    for directory in (volume, code, tmp_path / "staging"):
        directory.mkdir(parents=True)
    (code / "answer.py").write_text("VALUE = 42\n")
    (tmp_path / "work" / "other").touch()
    container = {"volumeMounts": [{"name": "scratch", "mountPath": str(tmp_path / "work")}]}
    script = "import os, answer; print(answer.VALUE, sorted(os.listdir('..')))"
    command = mounting_command(
        plan_mounts(container, {"scratch": volume}, {}),
        tmp_path / "staging",
        str(code),
        [sys.executable, "-c", script],
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert (process.returncode, output.decode().strip()) == (0, "42 ['checkout']")
