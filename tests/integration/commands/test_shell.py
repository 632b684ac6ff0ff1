"""The commands as a shell has them: beside kubectl, under the tab key, and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agentpool_core.cli.root import root
from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.queue import Producer
from tests.fixtures.redis import wait_until

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("name", root.list_commands(click.Context(root)))
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


class Terminal:
    """A terminal with one of our commands in it, and all that the command has drawn."""

    def __init__(self, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentpool_core", *args],
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )  # fmt: skip
        os.close(theirs)
        self.drawn = bytearray()

    def shows(self, *words: bytes) -> bool:
        """Whether all of these have been drawn."""
        with contextlib.suppress(OSError):  # nothing new, or it has ended
            self.drawn.extend(os.read(self._ours, 65_536))
        return all(word in self.drawn for word in words)

    async def ended(self) -> int:
        """The command's exit code, once it has ended and all is read."""
        await wait_until(lambda: self.shows() and self.process.poll() is not None, "it has ended")
        self.shows()
        return self.process.returncode

    def close(self) -> None:
        """Ends the command, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


async def test_top_is_live_on_a_terminal_until_it_is_interrupted(redis_url: str, pool: PoolRef, consumer):
    """It draws the pool and its worker, and Ctrl-C gives the terminal back."""
    with contextlib.closing(Terminal("top", "--every", "100ms", "--pool", str(pool), "--redis", redis_url)) as terminal:
        await wait_until(
            lambda: terminal.shows(str(pool).encode(), b"0/10", b"finished/s"), "the pool and rates are drawn"
        )
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ended() == 130
        assert b"\x1b[?1049l" in terminal.drawn, "the screen is not given back"


async def test_a_file_shows_how_far_it_is_on_a_terminal_and_nothing_where_it_is_piped(
    redis_url: str, pool: PoolRef, tmp_path: Path
):
    """The bar knows the whole, blank lines left out; a script's standard error stays empty."""
    jobs = tmp_path / "jobs.ndjson"
    jobs.write_text('{"kind": "greet"}\n\n' * 7)
    command = ["submit", "--file", str(jobs), "--pool", str(pool), "--redis", redis_url]
    with contextlib.closing(Terminal(*command)) as terminal:
        assert await terminal.ended() == 0
        assert terminal.shows(b"submitting", b"7/7", b"7 jobs submitted"), terminal.drawn
    piped = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentpool_core", *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert await piped.communicate() == (b"7 jobs submitted, 0 of them were known already\n", b"")


def test_a_port_that_is_taken_is_told_by_the_devcluster_with_its_remedy(tmp_path: Path):
    """One line, and wrong usage: another port would do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [BIN / "agentpool", "devcluster", "--port", str(port)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    told = (
        f"error: Invalid value for '--port': 127.0.0.1:{port}: Address already in use; "
        "choose a different address or port"
    )
    assert done.stderr == f"{told}, or 0 for any free port; see 'agentpool devcluster --help'\n"
    assert done.returncode == 2


async def test_a_wait_tells_on_a_terminal_why_the_job_has_not_begun(redis_url: str, pool: PoolRef, redis):
    """After a while, once; a script that waits reads nothing but the result."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="greet"))
    command = ["wait", receipt.job_id, "--timeout", "8s", "--pool", str(pool), "--redis", redis_url]
    with contextlib.closing(Terminal(*command)) as terminal:
        assert await terminal.ended() == 4
        told = f"job {receipt.job_id} has not started: no worker claims jobs".encode()
        assert terminal.drawn.count(told) == 1, terminal.drawn
