"""The process beside the worker: it records how the worker ended, and loses no signal, orphan or line."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_worker.supervision.exits import RESTART, SICK
from agentpool_worker.supervision.supervisor import HUNG
from tests.fixtures.local_system import eventually
from tests.fixtures.workers import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are supervised on Linux only")

APP = """
import asyncio, atexit, ctypes, json, os, signal, subprocess, sys, time
from agentpool_worker import App

app = App()
os.write(2, b"the app is imported\\n")
if os.environ.get("AT_IMPORT") == "sleep":
    open("importing", "w").close()
    time.sleep(600)
if os.environ.get("AT_IMPORT") == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if os.environ.get("AT_IMPORT") == "wait" and "AGENTPOOL_PREVIOUS_EXIT" in os.environ:
    while not os.path.exists("go on"):
        time.sleep(0.01)
if os.environ.get("AT_IMPORT") == "restart":
    sys.exit(75)
if os.environ.get("AT_IMPORT") == "sick":
    sys.exit(70)
if os.environ.get("AT_EXIT") == "wait":
    @atexit.register
    def wait():
        open("exiting", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.01)


@app.handler("previous")
async def previous(payload):
    return json.loads(os.environ.get("AGENTPOOL_PREVIOUS_EXIT", "null"))


@app.handler("end")
async def end(payload):
    for number in range(30):
        print(f"line {number}", file=sys.stderr)
    print("last words", flush=True)
    os._exit(payload) if payload >= 0 else os.kill(os.getpid(), -payload)


@app.handler("orphan")
async def orphan(payload):
    subprocess.run(["sh", "-c", f"sleep {payload} & echo $! > orphan.new; mv orphan.new orphan"], check=True)


@app.handler("stand-still")
async def stand_still(payload):
    if "AGENTPOOL_PREVIOUS_EXIT" in os.environ:
        return
    os.kill(os.getpid(), signal.SIGSTOP) if payload == "stopped" else ctypes.PyDLL(None).sleep(600)


@app.handler("stop-loop")
async def stop_loop(payload):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return os.getpid()


@app.handler("cancel-all")
async def cancel_all(payload):
    for task in asyncio.all_tasks() if "AGENTPOOL_PREVIOUS_EXIT" not in os.environ else ():
        task.cancel()


@app.handler("whoami")
async def whoami(payload):
    return os.environ.get("AGENTPOOL_WORKER"), os.getpid()
"""


@pytest.fixture
async def serve(workers, redis, pool, tmp_path):
    """Start a worker with the app in this file."""
    (tmp_path / "crashing.py").write_text(APP)
    await Inspector(redis).configure(pool, PoolSettings(concurrency=4, lease_ms=60_000))
    return lambda **environ: workers.start(app="crashing:app", PYTHONPATH=str(tmp_path), **environ)


@pytest.fixture
def submit(redis, pool):
    async def submit(kind, payload=None, **fields):
        return (await Producer(redis, pool).submit(JobRequest(kind=kind, payload=payload, **fields))).job_id

    return submit


@pytest.fixture
def result(redis, pool, submit):
    """Return the result of a new job."""

    async def result(kind, payload=None):
        job = await submit(kind, payload)

        async def ended():
            record = await Inspector(redis).job(pool, job)
            return record if record.state is JobState.SUCCEEDED else None

        await until(ended, f"{kind} has succeeded")
        return (await ended()).result

    return result


@pytest.mark.parametrize(
    ("payload", "code", "name"),
    [(3, 3, None), (0, 0, None), (-signal.SIGKILL, None, "SIGKILL"), (-signal.SIGABRT, None, "SIGABRT")],
)
async def test_the_next_worker_knows_the_end_of_its_predecessor(serve, submit, result, payload, code, name):
    """After an unplanned end a new worker starts in place, with code, signal and last lines of the old worker."""
    worker = serve()
    assert await result("previous") is None
    before = worker.worker_process().pid
    await submit("end", payload, max_attempts=1)
    previous = await result("previous")
    assert (previous["exit_code"], previous["signal"]) == (code, name)
    assert "last words" in previous["log"]
    assert len(previous["log"]) == 20
    assert worker.process.poll() is None
    assert worker.worker_process().pid != before
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


async def test_a_restarted_worker_keeps_its_name_and_requeues_the_jobs_of_its_predecessor(
    serve, submit, redis, pool, result
):
    """Jobs of a crashed worker do not wait for its lease, which is a minute here."""
    serve()
    job = await submit("end", 3, max_attempts=1)
    await result("previous")

    async def failed():
        return (await Inspector(redis).job(pool, job)).state is JobState.FAILED

    await until(failed, "the job of the crashed worker has lost its attempt")


async def test_output_passes_unchanged(serve, result):
    """Every line appears once in the supervisor's output."""
    worker = serve()
    await result("previous")
    assert worker.log().count("the app is imported\n") == 1
    await result("whoami")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines][-1].startswith("worker ")


async def test_sigterm_during_the_import_ends_the_worker(serve, tmp_path):
    """The worker has no handler of its own yet, and the signal still ends the worker."""
    worker = serve(AT_IMPORT="sleep")
    await until((tmp_path / "importing").exists, "the app is being imported")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_sigterm_to_the_first_process_of_a_container_is_not_lost(redis_url, tmp_path):
    """A signal during the imports of the first process waits for its handler."""
    marker = tmp_path / "held"
    hold = (
        "import sys, pathlib; from agentpool_core import start; sys.argv = ['agentpool', 'worker', 'none:app', "
        f"'--redis', {redis_url!r}, '--pool', 'a/b']; start.hold_signals(); "
        f"pathlib.Path({str(marker)!r}).touch(); sys.stdin.read(); start.main()"
    )
    in_namespace = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*in_namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host allows no process namespaces")
    with subprocess.Popen([*in_namespace, sys.executable, "-c", hold], stdin=subprocess.PIPE) as inside:
        try:
            eventually(lambda: marker.exists() or inside.poll() is not None, "the process holds its signals")
            (first,) = psutil.Process(inside.pid).children()
            first.send_signal(signal.SIGTERM)
            assert inside.stdin is not None
            inside.stdin.close()
            assert inside.wait(20) == 0
        finally:
            inside.kill()


async def test_a_worker_that_never_serves_ends_its_container(serve):
    """The kubelet sees a crash at each start."""
    worker = serve(AT_IMPORT="crash")
    assert worker.wait() == 128 + signal.SIGSEGV
    assert worker.log().count("the app is imported") == 3


@pytest.mark.parametrize(("how", "code", "starts"), [("sick", SICK, 1), ("restart", RESTART, 3)])
async def test_an_exit_code_that_the_worker_chose_is_the_containers(serve, how, code, starts):
    """A sick worker is not restarted in its container; a worker that requests a restart is, within bounds."""
    worker = serve(AT_IMPORT=how)
    assert worker.wait() == code
    assert worker.log().count("the app is imported") == starts


async def test_orphans_are_reaped(serve, result, tmp_path):
    """A process without a living parent leaves no zombie at its end."""
    worker = serve()
    await result("orphan", 0)
    orphan = int((tmp_path / "orphan").read_text())
    await until(lambda: not psutil.pid_exists(orphan), "the orphan is gone")
    assert [child.pid for child in psutil.Process(worker.process.pid).children()] == [worker.worker_process().pid]


async def test_orphans_of_jobs_end_with_the_worker(serve, result, tmp_path):
    """An orphan that would hold the worker's port and memory is killed after the end of the worker."""
    worker = serve()
    await result("orphan", 600)
    orphan = int((tmp_path / "orphan").read_text())
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert not psutil.pid_exists(orphan)
    assert "killed 1 processes that jobs had left running" in worker.log()


async def test_the_worker_dies_with_its_supervisor(serve, result):
    """SIGKILL to the visible process also ends the worker."""
    worker = serve()
    await result("whoami")
    itself = worker.worker_process()
    worker.send(signal.SIGKILL)
    worker.wait()
    await until(lambda: not itself.is_running() or itself.status() == psutil.STATUS_ZOMBIE, "the worker is gone")


async def test_the_worker_stops_and_continues_with_its_supervisor(serve, result):
    """SIGSTOP and SIGCONT to the visible process also reach the worker."""
    worker = serve()
    await result("whoami")
    itself = worker.worker_process()
    for _ in range(3):
        worker.send(signal.SIGSTOP)
        await until(lambda: itself.status() == psutil.STATUS_STOPPED, "the worker has stopped")
        worker.send(signal.SIGCONT)
        await until(lambda: itself.status() != psutil.STATUS_STOPPED, "the worker goes on")
    await result("whoami")


async def test_a_signal_to_the_group_reaches_the_worker_once(serve, submit, result, workers):
    """A worker that receives a single request to stop drains, for any set of signalled processes."""
    worker = serve()
    await result("whoami")
    assert os.getpgid(worker.worker_process().pid) != os.getpgid(worker.process.pid)


async def test_a_signal_that_ends_the_worker_on_request_is_no_crash(serve, result):
    """SIGQUIT is forwarded; a worker that SIGQUIT ends is not restarted."""
    worker = serve()
    await result("whoami")
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 128 + signal.SIGQUIT


@pytest.mark.parametrize("how", ["setsid", "setsid env -i PATH=/usr/bin:/bin"])
async def test_daemons_of_a_command_end_with_the_job(workers, redis, pool, tmp_path, how):
    """A daemon in a session of its own is killed; a daemon without an environment is killed when no job runs."""
    script = tmp_path / "agent.sh"
    script.write_text(
        f"#!/bin/sh\n{how} sh -c 'echo $$ > daemon; exec sleep 600' &\n"
        "while [ ! -s daemon ]; do sleep 0.01; done\necho 7\n"
    )
    script.chmod(0o755)
    await Inspector(redis).configure(pool, PoolSettings(concurrency=4))
    worker = workers.start("--handler-command", str(script), app=None)
    job = (await Producer(redis, pool).submit(JobRequest(kind="any"))).job_id

    async def ended():
        return (await Inspector(redis).job(pool, job)).state is JobState.SUCCEEDED

    await until(ended, "the job has succeeded")
    record = await Inspector(redis).job(pool, job)
    assert (record.result, record.attempt) == (7, 1)
    daemon = int((tmp_path / "daemon").read_text())
    await until(lambda: not psutil.pid_exists(daemon), "the daemon is gone")
    assert "the command left 1 processes running, which were killed: " in worker.log()


async def test_a_worker_that_hangs_in_its_imports_is_killed(serve):
    """The time to start is bounded, and the container ends after repeated hangs."""
    worker = serve(AT_IMPORT="sleep", AGENTPOOL_START_SECONDS="0.5")
    assert worker.wait() == 128 + signal.SIGKILL
    assert worker.log().count("the worker still imports its handlers after 0.5 s") == 3


@pytest.mark.parametrize("how", ["stopped", "native code keeps the lock"])
async def test_a_completely_blocked_worker_is_killed(serve, submit, result, how):
    """No thread of the worker can notice, so the supervisor notices, and the next worker logs the cause."""
    worker = serve(AGENTPOOL_BLOCK_WARN_SECONDS="0.1", AGENTPOOL_BLOCK_GIVE_UP_SECONDS="0.2")
    await until(worker.ready, "it serves")
    await submit("stand-still", how, max_attempts=1)
    previous = await result("previous")
    assert (previous["signal"], previous["cause"]) == ("SIGKILL", HUNG)
    assert "the worker sends no liveness signal" in worker.log()
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


async def test_a_handler_that_stops_the_event_loop_ends_nothing(serve, result):
    """The loop is resumed, and the job succeeds in the same process."""
    worker = serve()
    assert await result("stop-loop") == worker.worker_process().pid
    assert "a handler stopped the event loop; the worker continues" in worker.log()


async def test_a_handler_that_cancels_all_tasks_is_a_crash(serve, submit, result):
    """The worker's own tasks are among them: a new process starts, and reports the end of the old process."""
    worker = serve()
    await submit("cancel-all", max_attempts=1)
    assert (await result("previous"))["exit_code"] == RESTART
    assert "a handler cancelled all tasks of the event loop" in worker.log()
    assert "Traceback" not in worker.log()


async def test_probes_are_answered_while_a_worker_restarts(serve, submit, result, tmp_path):
    """A container with a restarting worker is alive, and not ready with the reason of the worker's end."""
    worker = serve(AT_IMPORT="wait")
    await until(worker.ready, "the first worker serves")
    await submit("end", 3, max_attempts=1)
    reason = "starting again: the worker process ended (exit code 3)\n"
    await until(lambda: worker.get("/readyz") == (503, reason), "the supervisor answers")
    assert worker.get("/healthz") == (200, "ok\n")
    (tmp_path / "go on").touch()
    assert (await result("previous"))["exit_code"] == 3
    await until(worker.ready, "the second worker serves at the same port")


async def test_probes_are_answered_while_the_process_of_a_worker_ends(serve, tmp_path):
    """A probe between the worker's last answer and the end of the container succeeds, as does a neighbour's hook."""
    worker = serve(AT_EXIT="wait")
    await until(worker.ready, "it serves")
    port = worker.port()
    worker.send(signal.SIGTERM)
    await until((tmp_path / "exiting").exists, "the worker has left, and its process ends")
    asked = {path: begin_request(port, path) for path in ("/readyz?draining=ready", "/drained", "/readyz")}
    (tmp_path / "go on").touch()
    answers = {path: status_of(connection) for path, connection in asked.items()}
    assert answers == {"/readyz?draining=ready": 200, "/drained": 200, "/readyz": 503}
    assert worker.wait() == 0


def begin_request(port, path):
    """Connect and send a request; the answer may come late."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Connection": "close"})
    return connection


def status_of(connection):
    with contextlib.closing(connection):
        return connection.getresponse().status
