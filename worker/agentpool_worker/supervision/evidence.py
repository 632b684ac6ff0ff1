"""Evidence of the previous worker process's end, as kept in a dead letter.

`agentpool_worker.worker` reports it before registering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_worker.supervision.previous_exit import KILLED_FROM_OUTSIDE

if TYPE_CHECKING:
    from agentpool_worker.supervision.previous_exit import PreviousExit


def explains(previous: PreviousExit | None) -> bool:
    """Return whether the end had no outside cause: then a job that ran alone in the process is the cause.

    A restarted container may have been on a failed node, and a kill from outside is not a job's fault.
    """
    return previous is not None and previous.cause != KILLED_FROM_OUTSIDE


def words_of(previous: PreviousExit | None, worker: str) -> str:
    """Describe the end: signal or exit code, cause, last log lines."""
    if previous is None:
        return (
            f"the process of worker {worker} ended under its jobs and was started again; "
            "in a cluster `kubectl describe pod` and `kubectl logs --previous` show how it ended"
        )
    if previous.signal:
        end = f"the process of worker {worker} was killed by {previous.signal}"
    elif previous.exit_code is not None:
        end = f"the process of worker {worker} ended with exit code {previous.exit_code}"
    else:
        end = f"the process of worker {worker} ended"
    cause = f" ({previous.cause})" if previous.cause else ""
    log = "\nLast log lines of the process:\n" + "\n".join(previous.log) if previous.log else ""
    return f"{end}{cause}{log}"
