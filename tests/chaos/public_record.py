"""The run's public record, which the second judge reads: documents as the HTTP API and `--output json` print them.

`tests.judge` takes over next, which knows nothing of the product and of this run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from agentpool_core.documents import event_document, job_document
from tests.judge.bounds import judge_bounds
from tests.judge.histories import judge_histories
from tests.judge.record import read

if TYPE_CHECKING:
    from pathlib import Path

    from agentpool_core.jobs import Job, JobEvent, PoolRef


def judge_publicly(file: Path, lines: Iterable[str]) -> list[str]:
    """Keep the record in the file, and return the findings of the second judge."""
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = read(file.read_text(encoding="utf-8").splitlines())
    return [f"second judge: {finding}" for finding in (*judge_histories(record), *judge_bounds(record))]


def lines_of(
    pool: PoolRef,
    events: Sequence[JobEvent],
    jobs: Iterable[Job],
    *,
    submitted: Mapping[str, str],
    cancelled: Iterable[str],
    limits: Mapping[str, int],
) -> Iterator[str]:
    """Return the record's lines. `submitted` (job and first state, if known), `cancelled`: jobs of answered calls."""
    documents: list[tuple[str, object]] = [("event", event_document(event)) for event in events]
    documents += [("job", job_document(job, pool)) for job in jobs]
    documents += [
        ("acknowledged", {"job_id": job, "call": "submit", **({"state": state} if state else {})})
        for job, state in submitted.items()
    ]
    documents += [("acknowledged", {"job_id": job, "call": "cancel"}) for job in cancelled]
    documents += [("limit", {"name": r, "routes": [r], "maxRunning": most}) for r, most in limits.items()]
    for name, document in documents:
        yield json.dumps({name: document})
