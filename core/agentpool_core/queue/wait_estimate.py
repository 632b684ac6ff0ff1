"""The wait of a task that is submitted now: the backlog times the time that a job takes at present, over the slots.

The mean since the pool began is wrong after each change of the work: ten thousand jobs of 10 ms hide jobs of 20 s for
hours. So the history of the pool decides, in its shortest latest part in which enough attempts have ended; the slots
that have been busy since, without an end, are a lower bound. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.queue.snapshots import QueueSnapshot


def estimated_wait_ms(snapshot: QueueSnapshot) -> int | None:
    """Return the estimated wait, after Little's law; 0: a slot is free.

    None: no attempt has ended yet, no live worker exists, or the pool starts no jobs, so the wait is unknown.
    """
    slots = snapshot.slots / snapshot.slots_per_job  # for jobs of the present sizes
    if snapshot.paused or snapshot.retired or not slots:
        return None
    if slots > snapshot.running + snapshot.queued:
        return 0
    mean_ms = mean_run_ms(snapshot)
    return None if mean_ms is None else round((snapshot.queued + 1) * mean_ms / slots)


def mean_run_ms(snapshot: QueueSnapshot) -> float | None:
    """Return the time that an attempt takes at present; None: none has ended, and none has run for a measured time."""
    enough = max(1, snapshot.running)  # ends that outweigh the jobs under way
    least_ms = 0.0
    for point in reversed(snapshot.history):
        elapsed_ms = snapshot.taken_at_ms - point.at_ms
        ended = snapshot.attempts_total - point.attempts
        if elapsed_ms <= 0 or ended < 0:
            continue  # the counters began again after the point
        if ended >= enough:
            return max(least_ms, (snapshot.run_ms_total - point.run_ms) / ended)
        busy_ms = min(snapshot.running, point.running) * elapsed_ms
        least_ms = max(least_ms, busy_ms / (ended + 1))
    if not snapshot.attempts_total:
        return least_ms or None
    return max(least_ms, snapshot.run_ms_total / snapshot.attempts_total)
