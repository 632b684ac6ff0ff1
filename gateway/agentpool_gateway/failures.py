"""Failed jobs by error: equal errors, and errors that differ in numbers only, are one group. Pure.

`routes.selection` reads the jobs and serves the groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentpool_core.documents import Document
from agentpool_core.jobs import Job
from agentpool_core.queue.error_groups import DIFFERS, group_of

MOST_GROUPS = 200  # kept; the rest are counted together
MOST_KINDS = 10  # named for a group
LEAST_MATCH = 4  # characters of a text that selects a group


class FailureGroups:
    """Groups of failed jobs, filled page by page."""

    def __init__(self) -> None:
        self._groups: dict[str, Document] = {}
        self.counted = 0  # jobs seen

    def add(self, jobs: Iterable[Job]) -> None:
        """Count jobs; the newest job of a group is the example."""
        for job in jobs:
            self.counted += 1
            error = group_of(job.error)
            if error not in self._groups and len(self._groups) >= MOST_GROUPS:
                continue
            group = self._groups.setdefault(error, _new_group(error))
            group["count"] += 1
            if job.kind not in group["kinds"] and len(group["kinds"]) < MOST_KINDS:
                group["kinds"].append(job.kind)
            if (job.finished_at_ms or 0) >= group["latest_at_ms"]:
                group |= {"latest_at_ms": job.finished_at_ms or 0, "job_id": job.job_id}

    def largest_first(self) -> Iterator[Document]:
        """Yield the groups."""
        yield from sorted(self._groups.values(), key=lambda group: (-group["count"], group["error"]))


def match_of(group: str) -> str | None:
    """Return the longest text that the errors of a group contain, for a selector; None: too short to select by."""
    longest = max(group.split(DIFFERS), key=len)
    return longest if len(longest.strip()) >= LEAST_MATCH else None


def _new_group(error: str) -> Document:
    return {"error": error, "match": match_of(error), "count": 0, "kinds": [], "latest_at_ms": 0, "job_id": ""}
