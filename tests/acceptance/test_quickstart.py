"""The commands of the quickstart work as described."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem, eventually

QUICKSTART = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```console\n(.*?)```", QUICKSTART, re.DOTALL)

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]


@pytest.fixture
def reader(tmp_path):
    """A reader with the page's files saved and the system started; types a line into a second terminal."""
    (program,) = re.findall(r"```python\n(.*?)```", QUICKSTART, re.DOTALL)
    (pool,) = re.findall(r"```yaml\n(.*?)```", QUICKSTART, re.DOTALL)
    (tmp_path / "my_agent.py").write_text(program)
    (tmp_path / "greeters.yaml").write_text(pool)
    system = DevSystem("my_agent:app", cwd=tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    exports = {"KUBECONFIG": system.kubeconfig, "REDIS_URL": system.redis_url, "PATH": path}

    def type_line(line):
        return subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, **exports},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    type_line.directory = tmp_path
    yield type_line
    system.close()


def test_every_command_does_its_work(reader):
    """The commands of the page succeed in their order; new code runs after a save."""
    commands = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) > 10
    outputs = {}
    for command in commands:
        done = reader(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        outputs[command] = done.stdout
    assert "Hello Ada" in outputs[commands[0]]
    program = reader.directory / "my_agent.py"
    program.write_text(program.read_text().replace("Hello", "Good morning"))
    eventually(lambda: "Good morning Ada" in reader(commands[0]).stdout, "the new code to run")
