"""A disk that loses power: each file keeps the bytes of its last fsync, and nothing behind them.

`synced.c`, loaded before a server, notes the sizes. An operating system may write more to the disk by itself, so this
is the worst state that a power loss may leave of a file that only grows, as an append-only file does.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("synced.c")
NOTE = "synced"
GROWING = "*.incr.aof"


class CompilerMissingError(Exception):
    """There is no C compiler."""

    def __init__(self) -> None:
        super().__init__("dropping unsynced writes needs a C compiler: apt-get install gcc")


class Disk:
    """The disk of a server that was started with `environment`. `directory` has the note."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        library = directory / "synced.so"
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        except FileNotFoundError as error:
            raise CompilerMissingError from error
        self.environment = {"LD_PRELOAD": str(library), "SYNCED_FILE": str(directory / NOTE)}

    def lose_power(self, data: Path) -> int:
        """Cut each growing file of the server to its synced size, after its end. Return the number of lost bytes."""
        sizes = self._synced()
        lost = 0
        for file in data.rglob(GROWING):
            found = file.stat()
            kept = sizes.get(found.st_ino, 0)
            lost += found.st_size - kept
            os.truncate(file, kept)
        return lost

    def _synced(self) -> dict[int, int]:
        """Return the last synced size of each file, by inode."""
        note = self._directory / NOTE
        lines = note.read_text(encoding="ascii").splitlines() if note.exists() else []
        return {int(inode): int(size) for inode, size in map(str.split, lines)}
