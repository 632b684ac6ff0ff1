"""Clocks that can be set while processes run by them.

libfaketime, loaded before a program, adds to the time of day what a file says. The monotonic clock goes on as it was,
as it does where NTP or an administrator sets a machine's clock. Processes look at the file once a second, so they
notice one after another. Who takes over next: `ground` starts processes by these clocks, `faults` sets them.
"""

from __future__ import annotations

import ctypes
import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"
NOTICED_WITHIN_SECONDS = 1
SHARED_BYTES = 4096  # libfaketime wants some to share between processes, which we have no use for
NEVER_WAITS = 2**30  # so many may hold its semaphore: one who is killed with it keeps nobody waiting


class ClockMissingError(Exception):
    """libfaketime is not installed."""

    def __init__(self) -> None:
        super().__init__("setting clocks needs libfaketime: apt-get install faketime")


class Clock:
    """A time of day for the processes that are started with its `environment`; `close` it when they have ended."""

    def __init__(self, file: Path) -> None:
        library = _library()
        self._file = file
        self._shared = SharedMemory(create=True, size=SHARED_BYTES)
        self._semaphore = f"/{self._shared.name}"
        # Made here, for libfaketime makes a pair for each process otherwise, and those of a killed one stay for ever.
        ctypes.CDLL(None).sem_open(self._semaphore.encode(), os.O_CREAT, 0o600, NEVER_WAITS)
        self.offset_s = 0  # what its time is ahead of the machine's
        self.move(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": str(NOTICED_WITHIN_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_SHARED": f"{self._semaphore} /{self._shared.name}",
        }

    def move(self, seconds: int) -> None:
        """Sets it forward by so much, or back where it is negative."""
        self.offset_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self.offset_s:+d}")
        new.replace(self._file)

    def close(self) -> None:
        ctypes.CDLL(None).sem_unlink(self._semaphore.encode())
        self._shared.close()
        self._shared.unlink()


def _library() -> Path:
    for root in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        for found in (*root.glob(LIBRARY), *root.glob(f"*/{LIBRARY}")):
            return found
    raise ClockMissingError
