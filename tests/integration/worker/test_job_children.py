"""Processes started by a job: a signal reaches only its process, and no process delays the worker's end."""

from __future__ import annotations

import signal
import sys

import psutil
import pytest

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from tests.fixtures.workers import until

APP = '''
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, time
from agentpool_worker import App

app = App()


def stubborn(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(path + ".new", path)
    time.sleep(600)



@app.handler("terminate")
def terminate(method):
    """Start a child, terminate it, and return how it ended."""
    if method == "subprocess":
        child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(600)"],
                                 stdout=subprocess.PIPE)
        child.stdout.readline()
        child.terminate()
        return child.wait()
    if method == "os.fork":
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, b"1")
            time.sleep(600)
        os.read(read, 1)
        os.kill(child, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    context = multiprocessing.get_context(method)
    begun = context.Event()
    child = context.Process(target=begin, args=(begun,))
    child.start()
    begun.wait()
    child.terminate()
    child.join()
    return child.exitcode


def begin(begun):
    begun.set()
    time.sleep(600)


@app.handler("interrupt")
def interrupt(_payload):
    """Interrupt a forked child, which Python tells by KeyboardInterrupt."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"1")
            time.sleep(600)
        except KeyboardInterrupt:
            os._exit(7)
        os._exit(8)
    os.read(read, 1)
    os.kill(child, signal.SIGINT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.handler("pool")
async def pool(_payload):
    """Leave a pool of processes at work."""
    with multiprocessing.get_context("fork").Pool(2) as processes:
        return await asyncio.to_thread(processes.map, abs, range(-3, 0))


@app.handler("leave")
async def leave(payload):
    """Return, and leave a child that ignores SIGTERM and that the interpreter would join when it exits."""
    multiprocessing.get_context(payload["method"]).Process(target=stubborn, args=(payload["path"],)).start()


@app.handler("nap")
async def nap(payload):
    await asyncio.sleep(payload)
'''


@pytest.fixture
async def worker(workers, redis, pool, tmp_path):
    (tmp_path / "children.py").write_text(APP)
    await Inspector(redis).configure(pool, PoolSettings(concurrency=4))
    return workers.start("--drain-seconds", "600", app="children:app", PYTHONPATH=str(tmp_path))


@pytest.fixture
def result(redis, pool):
    """Return the result of a new job."""

    async def result(kind, payload=None):
        job = (await Producer(redis, pool).submit(JobRequest(kind=kind, payload=payload, max_attempts=1))).job_id
        await until(lambda: ended(job), f"{kind} has ended")
        record = await Inspector(redis).job(pool, job)
        assert record.state is JobState.SUCCEEDED, record
        return record.result

    async def ended(job):
        return (await Inspector(redis).job(pool, job)).state in (JobState.SUCCEEDED, JobState.FAILED)

    return result


async def test_a_child_that_is_terminated_ends_and_the_worker_stays(worker, result, redis, pool):
    """SIGTERM ends a child process of any kind; the worker and its jobs continue."""
    beside = (await Producer(redis, pool).submit(JobRequest(kind="nap", payload=600))).job_id
    for method in ("fork", "spawn", "forkserver", "os.fork", "subprocess"):
        assert await result("terminate", method) == -signal.SIGTERM, method
    assert await result("interrupt") == 7
    assert await result("pool") == [3, 2, 1]
    record = await Inspector(redis).job(pool, beside)
    assert (record.state, record.attempt) == (JobState.RUNNING, 1)
    assert "leaving" not in worker.log()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are supervised on Linux only")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_a_child_that_ignores_sigterm_does_not_hold_up_the_workers_end(worker, result, tmp_path, method):
    """After a short grace the child is killed; the worker exits with code 0."""
    path = tmp_path / "stubborn"
    await result("leave", {"method": method, "path": str(path)})
    await until(path.exists, "the child ignores SIGTERM")
    child = psutil.Process(int(path.read_text()))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
