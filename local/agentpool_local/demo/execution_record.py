"""Read the record that the example's agents keep of their runs: job, attempt, time.

The record is independent of the queue, so the two can be compared. Files grow while the workers run; each `read` takes
only new lines. `tally` takes over next.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from agentpool_core.jobs import JobId


class Attempt(NamedTuple):
    """An attempt at a job."""

    job: JobId
    number: int  # 1-based; the same number again after a requeue


class ExecutionRecord:
    """The runs in a directory of records."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read_bytes: dict[Path, int] = {}
        self.runs: Counter[Attempt] = Counter()
        self.began_at_ms: dict[Attempt, float] = {}  # the worker's clock; of the latest run of the attempt

    def read(self) -> None:
        """Read the lines written since the last call; an unfinished line is left for the next call."""
        for file in self._directory.glob("*.jsonl"):
            seen = self._read_bytes.get(file, 0)
            with file.open("rb") as stream:
                stream.seek(seen)
                whole, _, _ = stream.read().rpartition(b"\n")
            if whole:
                self._read_bytes[file] = seen + len(whole) + 1
                for line in whole.splitlines():
                    self._take(json.loads(line))

    def _take(self, entry: dict[str, object]) -> None:
        if entry["event"] == "began":
            attempt = Attempt(entry["job"], entry["attempt"])  # type: ignore[arg-type] # as the example writes it
            self.runs[attempt] += 1
            self.began_at_ms[attempt] = float(entry["at"]) * 1000  # type: ignore[arg-type] # as above
