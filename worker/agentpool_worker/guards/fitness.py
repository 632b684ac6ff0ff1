"""Failures of the worker itself, separate from job failures: no temporary directory, no descriptors, no processes.

Such a failure says nothing about the job: the job is requeued without counting an attempt, and deferred a little for a
different worker. After a few in a row the unfit worker stops claiming, reports the reason, and leaves. A single
job with repeated failures does not make its worker unfit as long as the worker finds no problem in itself.
`agentpool_worker.jobs.execution` classifies errors here, `agentpool_worker.jobs.drain` leaves.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
import threading
import traceback
from typing import TYPE_CHECKING

from agentpool_core.text import render_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentpool_core.jobs import JobId

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3  # without a normal end of an attempt between them
_CHAIN_MAX = 5  # causes of an error that are looked at
_OF_THE_JOB = frozenset({errno.E2BIG, errno.ENAMETOOLONG})  # caused by oversized data of the job
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE})
_FORKS = frozenset({"_execute_child", "_fork_exec", "_launch", "fork"})  # functions of the standard library


class UnfitWorkerError(Exception):
    """Failure of the worker, not of the job."""


@contextlib.contextmanager
def own_work(doing: str) -> Iterator[None]:
    """Turn an error of the enclosed part into UnfitWorkerError; `doing` completes "the worker cannot"."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_JOB:
            raise
        raise UnfitWorkerError(f"cannot {doing}: {render_error(error)}") from error


def failure_of_worker(error: BaseException) -> str | None:
    """Return the worker's failure behind a failed attempt; None: the job's own failure."""
    link: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if link is None:
            return None
        if isinstance(link, UnfitWorkerError):
            return str(link)
        if words := _missing(link):
            return f"{words}: {render_error(link)}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def _missing(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _USED_UP:
        return "has no file descriptors left"
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error.strerror):
        return "has no usable temporary directory"
    if isinstance(error, BlockingIOError) and not _FORKS.isdisjoint(_functions_of(error)):
        return "cannot start processes"
    if isinstance(error, RuntimeError) and error.args == ("can't start new thread",):
        return "cannot start threads"
    return None


def _functions_of(error: BaseException) -> set[str]:
    return {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}


def examine() -> str | None:
    """Look for a failure of this process that affects most jobs; return it, or None."""
    try:
        with own_work("open files"):
            for descriptor in os.pipe():
                os.close(descriptor)
        with own_work("make a temporary directory"), tempfile.TemporaryDirectory(prefix="agentpool-check-"):
            pass
        with own_work("start threads"):
            thread = threading.Thread(target=lambda: None, daemon=True)
            thread.start()
            thread.join()
    except UnfitWorkerError as error:
        return str(error)
    return None


class Fitness:
    """Counts failures of the worker in a row. Used from the jobs' event loop only."""

    def __init__(self, *, unfit: Callable[[str], None], examine: Callable[[], str | None] = examine) -> None:
        self._unfit = unfit  # called once
        self._examine = examine
        self._row: list[JobId] = []
        self.complaint: str | None = None  # the worker's failure, once unfit

    def record_end(self) -> None:
        """Record an attempt that the worker could run to the end."""
        self._row.clear()

    def record_failure(self, job_id: JobId, words: str) -> None:
        """Note an attempt that failed because of the worker."""
        self._row.append(job_id)
        if self.complaint is not None or len(self._row) < FAILURES_IN_A_ROW:
            return
        found = self._examine()
        if found is None and len(set(self._row)) < FAILURES_IN_A_ROW:
            self._row.clear()
            log.warning("job %s fails as in an unfit worker, but the worker is fit: %s", job_id, words)
            return
        self.complaint = words
        log.error("the worker %s; %d attempts in a row: no more claims", self.complaint, len(self._row))
        self._unfit(self.complaint)
