"""Drain: stop claiming, let jobs finish, ask the rest to checkpoint, requeue the remaining jobs.

Each step ends as soon as no job is left; jobs of a claim in flight are requeued and never started. A second request
skips to the last step, which gives cancelled handlers a moment to clean up and no more. Requeued jobs keep their place
in the queue and their attempt, so a rolling update costs only the work since their last checkpoint.
`agentpool_worker.worker` awaits the claim in flight, delivers the last completions and deregisters.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agentpool_core.queue.completions import ReturnReason
from agentpool_worker.jobs.execution import Stop

if TYPE_CHECKING:
    from agentpool_worker.jobs.claim_loop import ClaimLoop
    from agentpool_worker.jobs.running_jobs import RunningJobs
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 5.0  # for jobs to reach their next checkpoint once their time is over
REQUEUE_SECONDS = 3.0  # for cancelled handlers to tidy up; with the above, well within the pod's 15 s of grace


class Drain:
    """Drain of a worker. Call `begin` once or twice; `run` ends when no job is left."""

    def __init__(self, *, claims: ClaimLoop, running_jobs: RunningJobs, metrics: WorkerMetrics) -> None:
        self._claims = claims
        self._running_jobs = running_jobs
        self._metrics = metrics
        self.asked = False  # from outside
        self._own_code = 0  # exit code that the worker's own reason asks for
        self.begun = asyncio.Event()
        self.hurried = asyncio.Event()

    def begin(self) -> None:
        """Handle a request to leave: the first stops claiming at once, the second requeues now."""
        if self.asked:
            log.warning("asked to stop again: requeuing %d jobs now", len(self._running_jobs.running))
            self.hurry()
        self.asked = True
        self.leave_early()

    @property
    def exit_code(self) -> int:
        """Return the exit code of the process: that of the worker's own reason, unless asked to leave."""
        return 0 if self.asked else self._own_code

    def leave_early(self, exit_code: int = 0) -> None:
        """Leave for the worker's own reason; a later request counts as the first."""
        self._own_code = self._own_code or exit_code
        if not self.begun.is_set():
            self._claims.stop_claiming()
            self._metrics.draining = True
            self.begun.set()

    def hurry(self) -> None:
        """Requeue the running jobs now, without waiting for their end."""
        self.leave_early()
        self.hurried.set()

    async def run(self, drain_seconds: float) -> None:
        """Wait until no job runs: first for the ends, then for checkpoints, then stop and requeue."""
        log.info(
            "leaving: no new jobs; %d running jobs have %g s to end", len(self._running_jobs.running), drain_seconds
        )
        if not await self._wait_empty_within(drain_seconds):
            self._running_jobs.ask_all_to_yield(ReturnReason.DRAIN)
            log.info("asking %d jobs to checkpoint", len(self._running_jobs.running))
            await self._wait_empty_within(CHECKPOINT_SECONDS)
        left = self._running_jobs.stop_all(Stop.DRAIN, grace_seconds=REQUEUE_SECONDS)
        if left:
            log.warning("requeuing %d jobs", left)
        await self._running_jobs.wait_empty()

    async def _wait_empty_within(self, seconds: float) -> bool:
        """Wait for the last job, the limit or the second request; return whether no job is left."""
        empty = asyncio.ensure_future(self._running_jobs.wait_empty())
        hurried = asyncio.ensure_future(self.hurried.wait())
        try:
            await asyncio.wait({empty, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            empty.cancel()
            hurried.cancel()
        return not self._running_jobs.running
