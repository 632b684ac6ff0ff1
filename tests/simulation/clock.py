"""The server's clock: a number in a shared file, which `clock.c` shows to the server as the time of day.

libfaketime reads its file once a second and lets the time go on in between, so it is not exact enough here. The library
is compiled when a simulation starts.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

BEGIN_SECONDS = 1_800_000_000  # time of day at the begin of every schedule
SOURCE = Path(__file__).with_name("clock.c")


class CompilerMissingError(Exception):
    """There is no C compiler."""

    def __init__(self) -> None:
        super().__init__("the simulation sets the server's clock, which needs a C compiler: apt-get install gcc")


class ServerClock:
    """A clock that stands still until it is set. Close it after the server's end."""

    def __init__(self, directory: Path) -> None:
        file, library = directory / "clock", directory / "clock.so"
        file.write_bytes(bytes(mmap.PAGESIZE))
        with file.open("r+b") as opened:
            self._shown = mmap.mmap(opened.fileno(), mmap.PAGESIZE)
        self.set(0.0)
        compiler = shutil.which("cc")
        if compiler is None:
            raise CompilerMissingError
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "SIMULATED_CLOCK": os.fspath(file)}

    def set(self, seconds: float) -> None:
        """Show this time since the begin of the schedule."""
        struct.pack_into("=q", self._shown, 0, round((BEGIN_SECONDS + seconds) * 1_000_000))

    def close(self) -> None:
        self._shown.close()
