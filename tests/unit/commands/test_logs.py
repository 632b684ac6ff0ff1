"""Which lines of a worker's log belong to a job."""

from __future__ import annotations

import json

from agentpool_core.commands.logs import lines_of
from agentpool_core.jobs import JobId

MINE = JobId("1a1fab44b30-mine")


def test_only_lines_of_the_job_are_shown():
    """JSON lines match by field or message, text lines by the job id; lines of other jobs are left out."""
    text = "\n".join(
        (
            json.dumps({"time": "T", "level": "info", "message": "begun", "job_id": MINE, "attempt": 1, "tokens": 7}),
            json.dumps({"time": "T", "level": "info", "message": "begun", "job_id": "other"}),
            json.dumps({"time": "T", "level": "warning", "message": f"job {MINE} timed out after 3 s"}),
            "2026-01-01 12:00:00 INFO agentpool: serves",
            f"2026-01-01 12:00:00 ERROR agentpool: job {MINE}: odd",
            json.dumps([MINE]),
        )
    )
    first, second, third = lines_of(text, MINE)
    assert first == "T info    attempt 1: begun tokens=7"
    assert "timed out" in second
    assert third.endswith("odd")


def test_a_traceback_keeps_its_lines():
    """The whole traceback of an error is shown below the error's line."""
    line = json.dumps({"message": "failed", "job_id": MINE, "traceback": "Traceback:\n  line"})
    assert lines_of(line, MINE)[0].splitlines()[1:] == ["Traceback:", "  line"]
