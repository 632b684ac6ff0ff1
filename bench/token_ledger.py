"""A ledger of acknowledged tokens in a shared file, which outlives the worker that writes, and costs no system call.

A slot for each job and run has the number of tokens with a returned `ctx.emit`. `bench.handlers` writes, and
`bench.streams` compares the ledger with the tokens that readers got.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 32  # of a job, at most
_SLOT = struct.Struct("=I")


class TokenLedger:
    """Counts of acknowledged tokens, for each job and run."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path, jobs: int) -> TokenLedger:
        """Create the file for this many jobs."""
        path.write_bytes(bytes(jobs * RUNS * _SLOT.size))
        return cls(path)

    def mark(self, job: int, run: int, tokens: int) -> None:
        """Note that the first `tokens` tokens of a run are acknowledged."""
        _SLOT.pack_into(self._map, self._place(job, run), tokens)

    def acknowledged(self, job: int) -> dict[int, int]:
        """Return the number of acknowledged tokens of each run, from 1, that has any."""
        counts = {run: _SLOT.unpack_from(self._map, self._place(job, run))[0] for run in range(1, RUNS)}
        return {run: count for run, count in counts.items() if count}

    def close(self) -> None:
        """Release the file."""
        self._map.close()

    def _place(self, job: int, run: int) -> int:
        return (job * RUNS + run) * _SLOT.size
