"""A container's log: process output line by line, with stream and time, as a file on the node.

A file per run of the container, in the form of the container runtime interface: `2026-01-31T12:00:00.123456Z stdout F
the line`. A file that grows too long is rotated, and the older half is dropped.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LARGEST_LINE_BYTES = 16 * 1024  # longer lines are split, as container runtimes do
LARGEST_FILE_BYTES = 10 * 2**20
FOLLOW_SECONDS = 0.05  # between looks at a followed file


def log_path(folder: Path, container: str, run: int) -> Path:
    """Return the log path of a run of a container, counted from 0."""
    return folder / f"{container}.{run}.log"


class LogWriter:
    """Writes the log of a run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    async def copy(self, source: asyncio.StreamReader, stream: str) -> None:
        """Write data from `source` until the end; `stream` is stdout or stderr."""
        while True:
            try:
                line = await source.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    self.write(error.partial, stream, whole=False)
                return
            except asyncio.LimitOverrunError as error:
                self.write(await source.readexactly(error.consumed), stream, whole=False)
                continue
            self.write(line[:-1], stream)

    def write(self, line: bytes, stream: str, *, whole: bool = True) -> None:
        """Write a line, or with `whole` false a first part of a line."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        entry = f"{at} {stream} {'F' if whole else 'P'} ".encode() + line + b"\n"
        if self._size > LARGEST_FILE_BYTES:
            self._rotate()
        self._file.write(entry)
        self._size += len(entry)

    def close(self) -> None:
        """No more will be written."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(_older(self._path))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LogQuery:
    """Which lines are wanted, and how."""

    tail_lines: int | None = None  # the last so many; None is all
    since: datetime | None = None  # not older than this; None is all
    timestamps: bool = False  # prefix each line with its time
    limit_bytes: int | None = None  # at most so much; None is no limit

    @classmethod
    def since_seconds(cls, seconds: float | None) -> datetime | None:
        """Return the time so many seconds ago; None for None."""
        return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)


def read_log(path: Path, query: LogQuery) -> bytes:
    """Return the wanted lines that are there now."""
    entries = [entry for entry in _entries(path) if query.since is None or _time_of(entry) >= query.since]
    if query.tail_lines is not None:
        entries = entries[-query.tail_lines :] if query.tail_lines else []
    text = b"".join(_shown(entry, query) for entry in entries)
    return text if query.limit_bytes is None else text[: query.limit_bytes]


async def follow_log(path: Path, query: LogQuery, ended: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the wanted lines that are there, then new lines, until `ended` and all is read."""
    with path.open("rb") as file:
        first = read_log(path, query)
        file.seek(0, 2)
        if first:
            yield first
        pending = b""
        while True:
            over = ended.is_set()
            pending += file.read()
            *lines, pending = pending.split(b"\n")
            text = b"".join(_shown(line, query) for line in lines)
            if text:
                yield text
            elif over:
                return
            elif not _is_still(path, file):
                return  # the file was set aside or removed: kubectl asks again
            else:
                await asyncio.sleep(FOLLOW_SECONDS)


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _entries(path: Path) -> Iterator[bytes]:
    for part in (_older(path), path):
        if part.exists():
            yield from part.read_bytes().splitlines()


def _shown(entry: bytes, query: LogQuery) -> bytes:
    at, _, rest = entry.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, line = rest.partition(b" ")
    end = b"\n" if tag == b"F" else b""
    return (at + b" " if query.timestamps else b"") + line + end


def _time_of(entry: bytes) -> datetime:
    return datetime.fromisoformat(entry.partition(b" ")[0].decode())


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".older")
