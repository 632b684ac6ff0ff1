"""`python -m tests.judge FILE`: judge a public record; print a line for each broken promise, and exit with 1.

`record` describes the lines of the file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.judge.bounds import judge_bounds
from tests.judge.histories import judge_histories
from tests.judge.record import UnusableRecordError, read


def main(arguments: list[str]) -> int:
    """Judge the file; return the exit code."""
    try:
        (file,) = arguments
    except ValueError:
        sys.stderr.write("usage: python -m tests.judge FILE\n")
        return 2
    try:
        record = read(Path(file).read_text(encoding="utf-8").splitlines())
    except (OSError, UnusableRecordError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    findings = [*judge_histories(record), *judge_bounds(record)]
    jobs = len({event["job_id"] for event in record.events})
    summary = f"{len(record.events)} events of {jobs} jobs: {len(findings)} findings"
    sys.stdout.write("\n".join([*findings, summary]) + "\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
