"""The public record of a pool: lines of JSON, an object with a single name each.

| name | value | source |
|---|---|---|
| `event` | an event, in the order of the stream | `GET POOL/events`, `agentpool events --output json` |
| `job` | a job's record at the end | `GET POOL/jobs/JOB` |
| `seen` | `job_id` and `state` of a read, in the order of a reader's reads | `GET POOL/jobs/JOB` |
| `acknowledged` | `job_id`, `call` (`submit`, `cancel` of a waiting job), `state` of a new job's receipt | the caller |
| `limit` | a limit that held all the time, with the fields of `spec.queue.limits` | the AgentPool |

Nothing here imports the product: the judge knows its documents only. `histories` and `bounds` judge the record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


class UnusableRecordError(Exception):
    """A line that is not of the record's form."""


@dataclass
class Record:
    """All lines, by name."""

    events: list[Document] = field(default_factory=list)
    jobs: dict[str, Document] = field(default_factory=dict)  # by id
    seen: list[Document] = field(default_factory=list)
    acknowledged: list[Document] = field(default_factory=list)
    limits: list[Document] = field(default_factory=list)


def read(lines: Iterable[str]) -> Record:
    """Return the record of these lines. Raises UnusableRecordError with the number of the line."""
    record = Record()
    for number, line in enumerate(lines, 1):
        try:
            ((name, value),) = json.loads(line).items()
            if name == "job":
                record.jobs[value["job_id"]] = value
            else:
                _LISTS[name](record).append(value)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UnusableRecordError(f"line {number} is not of the record: {line[:80]!r}") from error
    return record


_LISTS = {
    "event": lambda record: record.events,
    "seen": lambda record: record.seen,
    "acknowledged": lambda record: record.acknowledged,
    "limit": lambda record: record.limits,
}
