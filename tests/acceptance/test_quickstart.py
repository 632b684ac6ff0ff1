"""The quickstart does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fixtures.local_system import DevSystem

ROOT = Path(__file__).parents[2]
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```console\n(.*?)```", QUICKSTART, re.DOTALL)

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]


@pytest.fixture
def terminal():
    """Runs a line in bash, with what `agentpool dev` printed exported and our commands on PATH."""

    def run(system, line):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        exports = {"KUBECONFIG": system.kubeconfig, "REDIS_URL": system.redis_url, "PATH": path}
        return subprocess.run(
            ["bash", "-c", line],
            cwd=ROOT,
            env={**os.environ, **exports},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    return run


def test_every_command_does_its_work(dev_system, terminal):
    """The commands that the reader is told to type succeed, in their order."""
    commands = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) > 5
    for command in commands:
        done = terminal(dev_system, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_readers_own_handler_runs(tmp_path, terminal):
    """The handler and the pool that the page shows work as they stand there."""
    (program,) = re.findall(r"```python\n(.*?)```", QUICKSTART, re.DOTALL)
    (pool,) = re.findall(r"```yaml\n(.*?)```", QUICKSTART, re.DOTALL)
    agents = tmp_path / "my_agents"
    agents.mkdir()
    (agents / "greeter.py").write_text(program)
    system = DevSystem(f"--image=my/agents={agents}")
    try:
        system.kubectl("apply", "-f", "-", document=pool)
        name = yaml.safe_load(pool)["metadata"]["name"]
        system.kubectl("wait", "--for=condition=Ready", f"agentpool/{name}", "--timeout=60s")
        done = terminal(system, """agentpool submit greet '{"name": "Ada"}' --pool greeters --wait""")
        assert "Hello Ada" in done.stdout, done.stderr
    finally:
        system.close()
