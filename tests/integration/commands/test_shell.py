"""The commands as a shell has them: beside kubectl, under the tab key, and on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agentpool.cli import root
from agentpool.jobs import PoolRef
from tests.fixtures.redis import wait_until

BIN = Path(sys.executable).parent
OURS = ("submit", "get", "wait", "logs", "cancel", "queue", "top", "dead", "events", "replay", "doctor", "gateway")


@pytest.mark.parametrize("name", OURS)
def test_help_has_examples_and_exit_codes(name: str):
    """What a script needs to know stands where it is looked for."""
    context = click.Context(root)
    command = root.get_command(context, name)
    assert command is not None
    shown = command.get_help(click.Context(command, info_name=name, parent=context))
    assert "Examples:" in shown
    assert "Exit codes: 0 " in shown


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_runs_it_as_a_plugin(tmp_path: Path):
    """`kubectl agentpool` is the same command, and calls itself so."""
    done = subprocess.run(
        ["kubectl", "agentpool", "queue", "--help"],
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: kubectl agentpool queue")


@pytest.mark.parametrize(("words", "found"), [("agentpool que", "queue"), ("agentpool get --state r", "running")])
def test_the_tab_key_completes_commands_and_choices(words: str, found: str):
    """What the printed script asks for is answered."""
    wanted = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_AGENTPOOL_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [BIN / "agentpool"], env={**os.environ, **wanted}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == [f"plain,{found}"]


async def test_top_is_live_on_a_terminal_until_it_is_interrupted(redis_url: str, pool: PoolRef, consumer):
    """It draws the pool and its worker, and Ctrl-C gives the terminal back."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(  # noqa: ASYNC220  # starting it is quick
        [sys.executable, "-m", "agentpool", "top", "--every", "100ms", "--pool", str(pool), "--redis", redis_url],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )  # fmt: skip
    os.close(theirs)
    drawn = bytearray()

    def shows(*words: bytes) -> bool:
        with contextlib.suppress(OSError):  # nothing new, or it has ended
            drawn.extend(os.read(ours, 65_536))
        return all(word in drawn for word in words)

    try:
        await wait_until(lambda: shows(str(pool).encode(), b"0/10", b"finished/s"), "the pool and rates are drawn")
        process.send_signal(signal.SIGINT)
        await wait_until(lambda: shows() and process.poll() is not None, "it has ended")
        assert process.returncode == 130
        assert b"\x1b[?1049l" in drawn, "the screen is not given back"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
