"""Processes in Linux's /proc: descendants, stopped processes, and the end of leftovers.

Without /proc nothing is found, so nothing is ended. Used by `supervisor` for a worker's orphans, and by
`handlers.command` for leftovers of a job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
_STATE, _PARENT = 0, 1  # fields of /proc/PID/stat after the command in parentheses
_STOPPED = ("T", "t")
_ENDED = ("Z", "X", "")
_STAT_BYTES = 4096  # more than the line has
_POLL_SECONDS = 0.01


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, like the first process of a container."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


class Watched:
    """A process under repeated observation: each check is a single system call, which a busy thread delays once."""

    def __init__(self, pid: int) -> None:
        self._stat = os.open(_PROC / str(pid) / "stat", os.O_RDONLY | os.O_CLOEXEC)

    def is_stopped(self) -> bool:
        """Return whether the process is stopped by a signal; False if gone."""
        try:
            return _fields(os.pread(self._stat, _STAT_BYTES, 0).decode(errors="replace"))[_STATE] in _STOPPED
        except OSError:
            return False

    def close(self) -> None:
        """Stop observing."""
        os.close(self._stat)


def descendants(root: int) -> list[int]:
    """Return the living processes that descend from `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for pid in _all():
        state, parent = _stat(pid)
        if state not in _ENDED:
            children.setdefault(int(parent), []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:  # grows during the loop
        found += children.get(pid, ())
    return found


def others_below(root: int, child: int) -> list[int]:
    """Return the living descendants of `root` except `child` and its descendants."""
    theirs = {child, *descendants(child)}
    return [pid for pid in descendants(root) if pid not in theirs]


def has_children_beside(parent: int, child: int) -> bool:
    """Return whether the single-threaded process may have further children; reads a single file."""
    try:
        listed = (_PROC / str(parent) / "task" / str(parent) / "children").read_text(encoding="ascii")
    except OSError:  # this kernel does not list them
        return True
    return any(pid != str(child) for pid in listed.split())


def with_variable(assignment: str, among: Iterable[int] | None = None) -> list[int]:
    """Return the living processes that were started with this `NAME=value`; None: among all."""
    wanted = assignment.encode()
    found = []
    for pid in _all() if among is None else among:
        with contextlib.suppress(OSError):  # gone, or owned by a different user
            # A zombie has no environment any more.
            if wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def name_of(pid: int) -> str:
    """Return the process's short name; the id if gone."""
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return str(pid)


def kill(pids: Iterable[int]) -> None:
    """End these processes, where they still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_until_none(find: Callable[[], list[int]], *, within_seconds: float) -> list[int]:
    """Kill the results of `find` until there are none; return the ids of all killed processes."""
    killed: dict[int, None] = {}
    give_up_at = time.monotonic() + within_seconds
    while (left := find()) and time.monotonic() < give_up_at:
        killed |= dict.fromkeys(left)
        kill(left)
        time.sleep(_POLL_SECONDS)
    return list(killed)


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]  # noqa: PTH208 - names are enough
    except OSError:
        return []


def _stat(pid: int) -> tuple[str, str]:
    """Return state and parent; empty and "0" for a missing process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return "", "0"
    return _fields(text)


def _fields(stat: str) -> tuple[str, str]:
    fields = stat.rpartition(")")[2].split()
    return fields[_STATE], fields[_PARENT]
