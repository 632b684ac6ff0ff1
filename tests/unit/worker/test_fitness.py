"""The worker's own failures: separated from failures of jobs; some in a row make the worker unfit."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import tempfile
import threading

import pytest

from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded
from agentpool_worker import App
from agentpool_worker.guards.fitness import Fitness, UnfitWorkerError, failure_of_worker, own_work
from tests.unit.worker.fakes import Bench, lease


def raised(call) -> BaseException:
    """Return the exception of the call."""
    with pytest.raises(BaseException) as found:  # noqa: PT011
        call()
    return found.value


def no_thread(*_args):
    raise RuntimeError("can't start new thread")


def no_process(*_args):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def wrapped(error: BaseException) -> BaseException:
    """The error in the form that a handler's library may raise."""
    outer = ValueError("the library failed")
    outer.__cause__ = error
    return outer


def while_handling(error: BaseException) -> BaseException:
    """An error raised while the given error was handled, and not from that error."""
    outer = ValueError("the library failed")
    outer.__context__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "has no file descriptors left"),
        (wrapped(OSError(errno.ENFILE, "Too many open files in system")), "has no file descriptors left"),
        (while_handling(OSError(errno.EMFILE, "Too many open files")), "has no file descriptors left"),
        (RuntimeError("can't start new thread"), "cannot start threads"),
        (UnfitWorkerError("cannot start ./agent.sh"), "cannot start ./agent.sh"),
        (OSError(errno.ENOENT, "no such file"), None),
        (OSError(errno.ENOSPC, "disk full"), None),
        (BlockingIOError(errno.EAGAIN, "a socket of the handler's own"), None),
        (RuntimeError("no"), None),
        (asyncio.CancelledError(), None),
    ],
)
def test_a_failure_of_the_worker_is_recognised(error, words):
    """An exhausted resource of the process is the worker's failure in any code; the rest is the handler's."""
    found = failure_of_worker(error)
    assert found is None if words is None else found.startswith(words)


def test_errors_of_the_standard_library_are_recognised(monkeypatch, tmp_path):
    """The errors for missing threads, processes and temporary directories come from the interpreter."""
    with monkeypatch.context() as patch:
        patch.setattr(threading, "_start_new_thread", no_thread, raising=False)
        patch.setattr(threading, "_start_joinable_thread", no_thread, raising=False)
        assert failure_of_worker(raised(threading.Thread(target=print).start)).startswith("cannot start threads")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "_fork_exec", no_process)
        patch.setattr(subprocess, "_USE_POSIX_SPAWN", False)
        error = raised(lambda: subprocess.Popen(["true"], cwd="/"))
        assert failure_of_worker(error).startswith("cannot start processes")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    assert failure_of_worker(raised(tempfile.mkdtemp)).startswith("has no usable temporary directory")


def test_own_work_names_the_failed_work_of_the_worker():
    """The errors are the worker's, except an argument list of the job that is too long."""
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EAGAIN, errno.ENOMEM):
        with (
            pytest.raises(UnfitWorkerError, match="cannot write the files of a job: "),
            own_work("write the files of a job"),
        ):
            raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="Argument list too long"), own_work("start it"):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))


def test_a_few_failures_in_a_row_make_a_worker_unfit_once():
    """The three jobs differ; a good attempt in between resets the count."""
    reported = []
    fitness = Fitness(unfit=reported.append, examine=lambda: None)
    for job in ("a", "b"):
        fitness.record_failure(job, "has no descriptors")
    fitness.record_end()
    for job in ("c", "d"):
        fitness.record_failure(job, "has no descriptors")
    assert (reported, fitness.complaint) == ([], None)
    for job in ("e", "f"):
        fitness.record_failure(job, "has no descriptors")
    assert reported == [fitness.complaint] == ["has no descriptors"]


@pytest.mark.parametrize(("found", "complaints"), [(None, 0), ("cannot open files", 1)])
def test_a_single_job_makes_no_healthy_worker_unfit(found, complaints):
    """If only a single job fails, the worker checks its health: a job must not end worker after worker."""
    reported = []
    fitness = Fitness(unfit=reported.append, examine=lambda: found)
    for _ in range(9):
        fitness.record_failure("a", "has no descriptors")
    assert len(reported) == complaints


async def test_a_job_that_the_worker_failed_is_requeued_uncounted():
    """The job is deferred; its neighbours end as usual, and an error of a handler fails that handler's job."""
    app = App()

    @app.handler("sick")
    async def sick(payload):
        raise OSError(errno.EMFILE, "Too many open files")

    @app.handler("bad")
    async def bad(payload):
        raise OSError(errno.ENOENT, "no such file")

    @app.handler("good")
    async def good(payload):
        return 1

    async with Bench(app) as bench:
        bench.submit(lease("sick", number=1), lease("bad", number=2), lease("good", number=3))
        by_job = {completion.job_id: completion for completion in await bench.settled(3)}
    returned = by_job["job-1"]
    assert isinstance(returned, Returned)
    assert returned.reason is ReturnReason.UNFIT
    assert "no file descriptors" in returned.said
    assert isinstance(by_job["job-2"], Failed)
    assert isinstance(by_job["job-3"], Succeeded)
