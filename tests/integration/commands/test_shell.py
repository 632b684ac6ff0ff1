"""The commands in a shell: beside kubectl, with the tab key, and on a terminal."""

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
    """The help of each command has the information that a script needs."""
    context = click.Context(root)
    command = root.get_command(context, name)
    assert command is not None
    shown = command.get_help(click.Context(command, info_name=name, parent=context))
    assert "Examples:" in shown
    assert "Exit codes: 0 " in shown


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_runs_agentpool_as_a_plugin(tmp_path: Path):
    """`kubectl agentpool` is the same command, and uses that name in messages."""
    done = subprocess.run(
        ["kubectl", "agentpool", "queue", "--help"],
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: kubectl agentpool queue")


@pytest.mark.parametrize(("words", "found"), [("agentpool que", "queue"), ("agentpool get --state r", "running")])
def test_the_tab_key_completes_commands_and_choices(words: str, found: str):
    """The printed script asks for completions, and the command answers."""
    wanted = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_AGENTPOOL_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [BIN / "agentpool"], env={**os.environ, **wanted}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == [f"plain,{found}"]


class Terminal:
    """A terminal that runs an agentpool command and records all output."""

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
        """Return whether all of these texts have been drawn."""
        with contextlib.suppress(OSError):  # no new output, or the command has ended
            self.drawn.extend(os.read(self._ours, 65_536))
        return all(word in self.drawn for word in words)

    async def ended(self) -> int:
        """Return the command's exit code, after its end and all output."""
        await wait_until(lambda: self.shows() and self.process.poll() is not None, "it has ended")
        self.shows()
        return self.process.returncode

    def close(self) -> None:
        """End the command in any state."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


async def test_top_is_live_on_a_terminal_until_ctrl_c(redis_url: str, pool: PoolRef, consumer):
    """The command draws the pool and a worker, and Ctrl-C releases the terminal."""
    with contextlib.closing(Terminal("top", "--every", "100ms", "--pool", str(pool), "--redis", redis_url)) as terminal:
        await wait_until(
            lambda: terminal.shows(str(pool).encode(), b"0/10", b"finished/s"), "the pool and rates are drawn"
        )
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ended() == 130
        assert b"\x1b[?1049l" in terminal.drawn, "the screen is not released"


async def test_a_file_shows_progress_on_a_terminal_and_none_in_a_pipe(redis_url: str, pool: PoolRef, tmp_path: Path):
    """The bar knows the total without blank lines; a script's standard error stays empty."""
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


def test_the_devcluster_reports_a_port_in_use_with_the_remedy(tmp_path: Path):
    """A single line with the exit code of wrong usage: a different port would work."""
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


async def test_a_submit_that_waits_shows_the_course_on_a_terminal(redis_url: str, pool: PoolRef, consumer):
    """Id and state at once, then each change; the result comes last."""
    command = ["submit", "greet", '{"a": 1}', "--wait", "--id", "mine", "--pool", str(pool), "--redis", redis_url]
    with contextlib.closing(Terminal(*command)) as terminal:
        await wait_until(lambda: terminal.shows(b"job mine is queued"), "id and state are shown")
        await consumer.serve_one()
        assert await terminal.ended() == 0
        assert terminal.shows(b"job mine started", b'"echo"'), terminal.drawn


async def test_ctrl_c_leaves_the_id_of_the_job(redis_url: str, pool: PoolRef, consumer):
    """With the command that goes on waiting."""
    command = ["submit", "greet", "--wait", "--id", "mine", "--pool", str(pool), "--redis", redis_url]
    with contextlib.closing(Terminal(*command)) as terminal:
        await wait_until(lambda: terminal.shows(b"job mine is queued"), "the command waits")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ended() == 130
        assert terminal.shows(b"job mine goes on; `agentpool wait mine` waits for it again"), terminal.drawn


async def test_a_wait_shows_the_pending_reason_on_a_terminal(redis_url: str, pool: PoolRef, redis):
    """The reason appears once, after a while; a waiting script reads only the result."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="greet"))
    command = ["wait", receipt.job_id, "--timeout", "8s", "--pool", str(pool), "--redis", redis_url]
    with contextlib.closing(Terminal(*command)) as terminal:
        assert await terminal.ended() == 4
        told = f"job {receipt.job_id} has not started: no worker claims jobs".encode()
        assert terminal.drawn.count(told) == 1, terminal.drawn
