"""Clocks that tests can set while processes use them.

libfaketime, loaded before a program, adds the offset in a file to the time of day. The monotonic clock does not change,
as when NTP or an administrator sets a machine's clock. Processes read the file once a second, so they notice one after
another. The next modules are `ground`, which starts processes with these clocks, and `faults`, which sets them.
"""

from __future__ import annotations

import ctypes
import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"
NOTICED_WITHIN_SECONDS = 1
SHARED_BYTES = 4096  # libfaketime needs shared memory between processes, which these tests do not use
NEVER_WAITS = 2**30  # the semaphore's limit: a process killed while holding the semaphore blocks no other process


class ClockMissingError(Exception):
    """libfaketime is not installed."""

    def __init__(self) -> None:
        super().__init__("setting clocks needs libfaketime: apt-get install faketime")


class Clock:
    """A time of day for processes started with `environment`; `close` the clock after their end."""

    def __init__(self, file: Path) -> None:
        library = _library()
        self._file = file
        self._shared = SharedMemory(create=True, size=SHARED_BYTES)
        self._semaphore = f"/{self._shared.name}"
        # Created here, because libfaketime would create a pair for each process, and those of a killed process stay for
        # ever.
        ctypes.CDLL(None).sem_open(self._semaphore.encode(), os.O_CREAT, 0o600, NEVER_WAITS)
        self.offset_s = 0  # offset from the machine's time
        self.move(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": str(NOTICED_WITHIN_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_SHARED": f"{self._semaphore} /{self._shared.name}",
        }

    def move(self, seconds: int) -> None:
        """Set the clock forward by this much, or back if negative."""
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
