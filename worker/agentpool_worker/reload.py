"""For development: run the worker in a child process and restart it when a source file changes.

Files are compared by modification time, which needs no library and works on every file system. The old worker drains
before the new worker starts, so saving a file loses no job. `agentpool_worker.commands` takes over in the child,
without `--reload`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentpool_core.process.parent_death import signal_on_parent_death

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_SECONDS = 0.5
_IGNORED = {".git", ".venv", "__pycache__", "node_modules"}


def changed_files(directory: Path, seen: dict[Path, float]) -> list[Path]:
    """Return Python files that are new or newer than in `seen`, and update `seen`."""
    changed = []
    for path in _sources(directory):
        try:
            modified = path.stat().st_mtime
        except OSError:  # deleted while we looked
            continue
        if seen.get(path) != modified:
            seen[path] = modified
            changed.append(path)
    return changed


def run_reloading(arguments: Sequence[str], directory: Path) -> int:
    """Run `agentpool ARGUMENTS` repeatedly; return the exit code of the last run, after the end by a signal."""
    asked: list[subprocess.Popen[bytes]] = []  # the running child at each request to end

    def stop(_number: int, _frame: object) -> None:
        asked.append(child)
        child.send_signal(signal.SIGTERM)

    seen: dict[Path, float] = {}
    changed_files(directory, seen)
    child = _start(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not asked:
        time.sleep(_POLL_SECONDS)
        changed = changed_files(directory, seen)
        if changed and not asked:
            click.echo(f"{changed[0]} changed: restarting", err=True)
            child.send_signal(signal.SIGTERM)
            child.wait()
            if not asked:
                child = _start(arguments)
    if asked[-1] is not child:  # started at the moment of the signal
        child.send_signal(signal.SIGTERM)
    return child.wait()


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    # A separate session: Ctrl-C reaches the child once, through this process. The child drains when this process is
    # killed.
    command = [sys.executable, "-m", "agentpool_core", *arguments]
    return subprocess.Popen(command, start_new_session=True, preexec_fn=signal_on_parent_death(signal.SIGTERM))  # noqa: PLW1509 - no threads


def _sources(directory: Path) -> list[Path]:
    found = []
    for path in directory.iterdir():
        if path.is_dir() and path.name not in _IGNORED and not path.name.startswith("."):
            found += _sources(path)
        elif path.suffix == ".py":
            found.append(path)
    return found
