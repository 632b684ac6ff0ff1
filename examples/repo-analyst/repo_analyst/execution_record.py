"""An independent record of every run of a handler: a line in a directory of the submitter's choice.

The queue promises that a job's result counts once; this record verifies the promise without asking the queue. Each
worker process appends to its own file, a short line per event, so lines never mix.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def recorded(directory: str | None, *, job: str, attempt: int) -> Iterator[None]:
    """Record the start and the end of a run. Does nothing without a directory on this machine."""
    if directory is None or not Path(directory).is_dir():
        yield
        return
    file = Path(directory) / f"{os.getpid()}.jsonl"
    _append(file, event="began", job=job, attempt=attempt)
    try:
        yield
    finally:
        _append(file, event="ended", job=job, attempt=attempt)


def _append(file: Path, *, event: str, job: str, attempt: int) -> None:
    line = json.dumps({"event": event, "job": job, "attempt": attempt, "at": time.time()})
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
