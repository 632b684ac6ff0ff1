"""Jobs as real processes: input, output and exit codes; no process outlives its job."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import psutil
import pytest
import uvloop

from agentpool_core.errors import HandlerError, SettingError
from agentpool_core.queue.completions import Cancelled, Failed, Returned, ReturnReason, Succeeded
from agentpool_worker.handlers.command import CommandHandlers, _feed
from agentpool_worker.handlers.job_environment import inherited_variables
from agentpool_worker.handlers.selection import check_passed
from agentpool_worker.jobs.execution import Stop
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, is_deadline, lease


async def run(source: str, payload=None, **fields):
    """Run a job with this Python source; return the completion."""
    async with Bench(CommandHandlers([sys.executable, "-c", source])) as bench:
        bench.submit(lease("script", payload, **fields))
        (completion,) = await bench.settled(1)
        return completion, bench.overloads


async def test_payload_goes_in_and_the_result_comes_out():
    """Standard input and output carry JSON; the environment names the job; a file holds the parents' results."""
    source = (
        "import json, os, sys\n"
        "parents = json.load(open(os.environ['AGENTPOOL_PARENTS']))\n"
        "json.dump([json.load(sys.stdin), os.environ['AGENTPOOL_JOB_ID'], os.environ['AGENTPOOL_KIND'],"
        " os.environ['TRACEPARENT'], parents], sys.stdout)"
    )
    completion, _ = await run(source, {"n": 1}, trace={"traceparent": "00-x"}, parents={"job-0": 5})
    assert completion.result == [{"n": 1}, "job-1", "script", "00-x", {"job-0": 5}]


async def test_arguments_go_to_the_program_as_they_are():
    """No shell interprets the arguments, and they contain no part of the payload."""
    words = ["$(id)", "`id`", "; id", "| id", "> /tmp/x", "*", "~", "$HOME", "{{ payload }}"]
    source = "import json, sys; json.load(sys.stdin); json.dump(sys.argv[1:], sys.stdout)"
    async with Bench(CommandHandlers([sys.executable, "-c", source, *words])) as bench:
        bench.submit(lease("script", "$(id); id"))
        (completion,) = await bench.settled(1)
    assert completion.result == words


async def test_the_environment_has_the_deadline_of_the_attempt():
    """The environment has the deadline as a time in UTC, and as the seconds left at the start of the process."""
    names = ("AGENTPOOL_DEADLINE", "AGENTPOOL_REMAINING_SECONDS")
    since = datetime.now(UTC)
    source = f"import json, os; print(json.dumps([os.environ[name] for name in {names}]))"
    completion, _ = await run(source, timeout_ms=3_600_000)
    deadline, remaining = completion.result
    assert is_deadline(deadline, since=since, timeout_ms=3_600_000)
    assert 3_000 < float(remaining) <= 3_600


async def test_the_error_keeps_the_end_of_a_long_standard_error():
    """The error has the last 4 KiB of standard error to the last byte, and no output of the worker."""
    source = "import sys; print(*range(100_000), file=sys.stderr); sys.exit(3)"
    completion, _ = await run(source)
    headline, told = completion.error.split("\n", 1)
    assert headline == "CommandFailedError: the command exited with 3; its standard error ends:"
    assert told == (" ".join(map(str, range(100_000))) + "\n")[-4096:].strip()


async def test_saved_state_progress_and_checkpoints_reach_a_shell():
    """A shell script reads the state saved by an earlier attempt, and reports progress as lines on a pipe."""
    source = """
        cat > /dev/null
        echo '{"progress": {"read": 1}}' >> "$AGENTPOOL_REPORT"
        echo '{"checkpoint": {"at": 2}}' >> "$AGENTPOOL_REPORT"
        printf '{"attempt": %d, "state": ' "$AGENTPOOL_ATTEMPT"; cat "$AGENTPOOL_STATE"; printf '}'
    """
    async with Bench(CommandHandlers(["sh", "-c", source])) as bench:
        bench.submit(lease(attempt=2, checkpoint={"at": 1}))
        (completion,) = await bench.settled(1)
    assert completion.result == {"attempt": 2, "state": {"at": 1}}
    assert [value for _, value in bench.queue.saved] == [{"read": 1}, {"at": 2}]


async def test_a_command_asked_to_yield_is_requeued_at_its_next_checkpoint():
    """The process gets SIGTERM after its state is stored, and the job keeps its attempt."""
    source = """
        echo '{"progress": 1}' >> "$AGENTPOOL_REPORT"
        while :; do echo '{"checkpoint": 5}' >> "$AGENTPOOL_REPORT"; sleep 0.05; done
    """
    async with Bench(CommandHandlers(["sh", "-c", source])) as bench:
        bench.submit(lease())
        await wait_until(lambda: bench.queue.saved, "progress has arrived")
        (execution,) = bench.running_jobs.running
        execution.ask_to_yield(ReturnReason.DRAIN)
        (completion,) = await bench.settled(1)
    assert completion == Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN, checkpoint=5)


@pytest.mark.parametrize(
    ("line", "told"), [("half a thought", "an invalid report"), ('{"result": 1}', "a result goes to standard output")]
)
async def test_an_invalid_report_fails_the_job(line, told):
    """A process that writes an invalid line to its report pipe is ended, and the error shows the line."""
    async with Bench(CommandHandlers(["sh", "-c", f"echo '{line}' >> $AGENTPOOL_REPORT; sleep 600"])) as bench:
        bench.submit(lease())
        (completion,) = await bench.settled(1)
    assert (completion.retry, told in completion.error) == (False, True)


async def test_command_need_not_read_its_input_nor_print():
    """An unread large payload does no harm, and no output is a result of null."""
    completion, _ = await run("pass", "x" * 1_000_000)
    assert completion.result is None


@pytest.mark.parametrize(
    ("source", "retry", "told"),
    [
        ("import sys; sys.exit('out of luck')", True, "exited with 1; its standard error ends:\nout of luck"),
        ("import sys; sys.exit(65)", False, "can never succeed"),
        ("import os; os.kill(os.getpid(), 9)", True, "killed by SIGKILL"),
        ("print('no json')", False, "not JSON"),
        ("print('x' * 17_000_000)", False, "printed more than"),
    ],
)
async def test_exit_decides_how_the_job_ends(source, retry, told):
    """Exit codes decide whether the job is retried; the error shows the end of the log."""
    completion, seen = await run(source)
    assert isinstance(completion, Failed)
    assert (completion.retry, seen) == (retry, 0)
    assert told in completion.error


async def test_exit_code_75_defers_the_job():
    """EX_TEMPFAIL reports an overloaded program: the job is deferred, and no attempt counts."""
    completion, overloads = await run("import sys; sys.exit(75)")
    assert (completion.reason, overloads) == (ReturnReason.OVERLOADED, 1)


FORKS = (
    "import subprocess, sys, time, signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open({path!r}, 'w').write(str(child.pid)); time.sleep({sleep})\n"
)


@pytest.mark.parametrize("how", ["cancelled", "timeout", "ended"])
async def test_the_processes_of_a_job_end_with_the_job(tmp_path, monkeypatch, how: str):
    """After a cancel, a timeout or a plain end, child processes are gone too, even if they ignore SIGTERM."""
    monkeypatch.setattr("agentpool_worker.handlers.command.TERM_SECONDS", 0.1)
    path = tmp_path / "pid"
    source = FORKS.format(path=str(path), sleep=0 if how == "ended" else 600)
    timeout_ms = 1500 if how == "timeout" else 60_000
    async with Bench(CommandHandlers([sys.executable, "-c", source]), grace_seconds=5) as bench:
        bench.submit(lease(timeout_ms=timeout_ms))
        await wait_until(lambda: path.exists() and path.read_text(), "the process has a child")
        if how == "cancelled":
            (execution,) = bench.running_jobs.running
            bench.running_jobs.stop(execution, Stop.CANCELLED)
        (completion,) = await bench.settled(1)
    assert isinstance(completion, {"cancelled": Cancelled, "timeout": Failed}.get(how, object))
    await wait_until(lambda: gone(int(path.read_text())), "the grandchild is gone")


async def test_no_process_outlives_its_worker(tmp_path, monkeypatch):
    """If a job was given up before the end of its processes, they end with the worker, grandchildren included."""
    monkeypatch.setattr("agentpool_worker.handlers.command.TERM_SECONDS", 600.0)
    path = tmp_path / "pid"
    handlers = CommandHandlers([sys.executable, "-c", FORKS.format(path=str(path), sleep=600)])
    async with Bench(handlers, grace_seconds=0.05) as bench:
        bench.submit(lease())
        await wait_until(lambda: path.exists() and path.read_text(), "the process has a child")
        (execution,) = bench.running_jobs.running
        bench.running_jobs.stop(execution, Stop.DRAIN)
        await bench.settled(1)
        assert not gone(int(path.read_text()))
        await handlers.stop()
        await wait_until(lambda: gone(int(path.read_text())), "the grandchild is gone")
        await asyncio.wait({execution.task}, timeout=10)


LEAVES = """
import os, subprocess, sys
daemon = subprocess.Popen([sys.executable, "-c", {daemon!r}], start_new_session=True, {pipes})
open({path!r}, "w").write(str(daemon.pid))
print(7)
sys.exit({code})
"""
SLEEPS = "import time; time.sleep(600)"
PIPES = {
    "held": "",
    "closed": "stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL",
}


@pytest.mark.parametrize("pipes", PIPES)
@pytest.mark.parametrize(("code", "kind"), [(0, Succeeded), (65, Failed)])
async def test_the_exit_code_decides_despite_remaining_processes(tmp_path, caplog, pipes, code, kind):
    """A daemon in a session of its own is killed and logged, and the job ends as its program did, in a single run."""
    path = tmp_path / "pid"
    completion, _ = await run(
        LEAVES.format(daemon=SLEEPS, path=str(path), code=code, pipes=PIPES[pipes]), timeout_ms=600_000
    )
    assert isinstance(completion, kind)
    assert getattr(completion, "result", 7) == 7
    await wait_until(lambda: gone(int(path.read_text())), "the daemon is gone")
    assert "the command left 1 processes running, which were killed: python" in caplog.text


async def test_output_that_never_ends_is_not_waited_for(tmp_path, monkeypatch, caplog):
    """An unkillable process that holds the pipes costs a moment, and the result arrives all the same."""
    monkeypatch.setattr("agentpool_worker.handlers.command.end_leftovers", nothing_found)
    path = tmp_path / "pid"
    source = LEAVES.format(daemon=SLEEPS, path=str(path), code=0, pipes="")
    try:
        async with Bench(CommandHandlers([sys.executable, "-c", source], output_seconds=0.1)) as bench:
            bench.submit(lease(timeout_ms=600_000))
            (completion,) = await bench.settled(1)
        assert completion.result == 7
        assert "holds the output, so the rest of the output is ignored" in caplog.text
    finally:
        psutil.Process(int(path.read_text())).kill()


async def test_a_large_payload_unread_by_the_program_delays_nothing(tmp_path):
    """The program has ended without reading its input, and a daemon still holds the input open."""
    path = tmp_path / "pid"
    source = LEAVES.format(daemon=SLEEPS, path=str(path), code=0, pipes="")
    completion, _ = await run(source, "x" * 1_000_000, timeout_ms=600_000)
    assert completion.result == 7


async def nothing_found(*_args, **_fields):
    return []


async def test_a_job_sees_only_the_variables_of_the_allow_list(monkeypatch):
    """An allow-list passes variables; the worker's Redis settings and all secrets stay with the worker."""
    secrets = {
        "AGENTPOOL_REDIS_URL": "redis://:s3cret@redis:6379",
        "REDIS_URL": "redis://:s3cret@redis:6379",
        "AGENTPOOL_HANDLER": "{}",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "DATABASE_PASSWORD": "s3cret",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    completion, _ = await run("import json, os; print(json.dumps(dict(os.environ)))")
    seen = completion.result
    assert not secrets.keys() & seen.keys()
    assert "s3cret" not in str(seen)
    assert {"PATH", "HOME", "AGENTPOOL_JOB_ID", "AGENTPOOL_REPORT"} <= seen.keys()


@pytest.mark.parametrize(
    ("pass_env", "seen"),
    [
        ((), {"LC_NUMERIC"}),
        (("OPENAI_API_KEY",), {"LC_NUMERIC", "OPENAI_API_KEY"}),
        (("OPENAI_*",), {"LC_NUMERIC", "OPENAI_API_KEY", "OPENAI_MODEL"}),
        (("*",), {"LC_NUMERIC", "OPENAI_API_KEY", "OPENAI_MODEL"}),
        (("REDIS_URL", "AGENTPOOL_REDIS_URL", "AGENTPOOL_*"), {"LC_NUMERIC", "REDIS_URL"}),
    ],
)
def test_a_pool_extends_the_variables_of_its_jobs(pass_env, seen):
    """Names and patterns extend the allow-list; no pattern matches the worker's own variables."""
    names = ("LC_NUMERIC", "OPENAI_API_KEY", "OPENAI_MODEL", "REDIS_URL", "AGENTPOOL_REDIS_URL", "AGENTPOOL_X")
    assert set(inherited_variables(dict.fromkeys(names, "x"), pass_env)) == seen


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("AGENTPOOL_REDIS_URL", "a variable of the worker's own, which no job sees; remove it"),
        ("AGENTPOOL_*", "a variable of the worker's own"),
        ("lower case", "not the name of a variable; write NAME, or NAME_\\* for a prefix"),
        ("*_KEY", "not the name of a variable"),
    ],
)
def test_the_command_line_refuses_an_invalid_name(name, told):
    """The command line refuses the same names as the schema of an AgentPool, instead of passing nothing in silence."""
    with pytest.raises(SettingError, match=f"^--pass-env: .*: {told}"):
        check_passed(["MODEL_*", "*", name])


@pytest.mark.parametrize(("kills", "told"), [((3, 4), True), ((3, 3), False), ((None, 4), False)])
async def test_a_command_killed_for_memory_says_so(monkeypatch, kills, told):
    """SIGKILL together with a growing count of memory kills in the container has a reason.

    Any other SIGKILL has none.
    """
    counts = iter(kills)
    monkeypatch.setattr("agentpool_worker.supervision.cgroup.oom_kills", lambda: next(counts))
    completion, _ = await run("import os; os.kill(os.getpid(), 9)")
    assert ("(out of memory: raise resources.limits.memory" in completion.error) is told


async def test_a_command_slowed_by_the_cpu_limit_says_so(monkeypatch, caplog):
    """The error names the time without CPU beside the duration of the command."""
    seconds = iter((10.0, 70.0))
    monkeypatch.setattr("agentpool_worker.supervision.cgroup.throttled_seconds", lambda: next(seconds))
    await run("pass")
    assert "the CPU limit of the container stopped its processes for 60.0 s" in caplog.text


async def test_a_worker_without_a_directory_for_its_jobs_files_does_not_start(monkeypatch, tmp_path):
    """The error names the missing directory and the mount to add, before any claim."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(HandlerError, match="mount a volume at /tmp"):
        await CommandHandlers(["true"]).start()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_that_ends_before_its_input_has_not_failed(loop_factory):
    """A program that reads no input may end before the payload is written, whatever state the event loop reports."""

    async def fed_too_late():
        process = await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.PIPE)
        await process.wait()
        await wait_until(process.stdin.transport.is_closing, "the loop has noticed that the pipe is closed")
        await _feed(process.stdin, b"1")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(fed_too_late())
