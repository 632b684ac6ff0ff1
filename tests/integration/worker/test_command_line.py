"""`agentpool worker` on the command line, and a worker inside a program."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from agentpool_core.client import Client
from agentpool_core.errors import UnknownPoolError
from agentpool_core.jobs import JobRequest, JobState, PoolRef
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_worker import App, Worker
from agentpool_worker.settings import settings_from
from tests.fixtures.lines import Line
from tests.fixtures.workers import APP, until

PAGE = Path(__file__).parents[3] / "docs" / "handlers-python.md"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--redis", "redis://127.0.0.1:1/0", "--pool", "p"], 2, "no handler is given"),
        (["worker_app:app", "--pool", "p"], 2, "--redis (AGENTPOOL_REDIS_URL)"),
        (["worker_app:app", "--redis", "http://x", "--pool", "p"], 2, "scheme"),
        (["worker_app:nothing", "--redis", "redis://127.0.0.1:1/0", "--pool", "p"], 1, "has no 'nothing'"),
        (["worker_app:app", "--handler-command", "x", "--redis", "redis://h", "--pool", "p"], 2, "several handlers"),
        (["worker_app:app", "--redis", "redis://127.0.0.1:1/0", "--pool", "p"], 1, "Redis did not answer"),
    ],
)
def test_bad_input_is_one_clear_line(start_workers, pool_ref, arguments, code, told):
    """Each unusable input is a single line on standard error, without a traceback."""
    workers = start_workers("unused", pool_ref)
    worker = workers.start_plain(*arguments)
    assert worker.wait(40) == code
    lines = [line for line in worker.log().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, worker.log()
    assert lines[0].startswith("error: ")
    assert told in lines[0]


async def test_a_port_in_use_is_named(workers):
    """A health port in use ends the worker, and the error names the variable."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        worker = workers.start("--http-port", str(taken.getsockname()[1]))
        assert await asyncio.to_thread(worker.wait) == 2
    assert "AGENTPOOL_HTTP_PORT" in worker.log()


async def test_pool_without_settings_gets_defaults_by_hand(start_workers, redis_url, redis):
    """A worker started by hand on an empty Redis publishes default settings and serves."""
    pool = PoolRef("test", "by-hand")
    worker = start_workers(redis_url, pool).start()
    await until(worker.ready, "the worker serves")
    job = await Producer(redis, pool).submit(JobRequest(kind="number", payload=3))
    await until(lambda: succeeded(redis, pool, job.job_id), "the job has succeeded")
    worker.send(signal.SIGINT)
    assert worker.wait() == 0
    await Inspector(redis).purge(pool)


async def test_pods_environment_is_enough(workers, redis, pool):
    """As in a pod, all settings come from the environment; the worker has the pod's name."""
    environ = {
        "AGENTPOOL_NAMESPACE": pool.namespace,
        "AGENTPOOL_POOL": pool.name,
        "AGENTPOOL_REDIS_URL": workers.url,
        "AGENTPOOL_WORKER": "pod-7",
        "AGENTPOOL_HANDLER": '{"python": {"app": "worker_app:app"}}',
    }
    worker = workers.start_plain(**environ)
    await until(worker.ready, "the worker serves")
    assert [snapshot.name for snapshot in await Inspector(redis).workers(pool)] == ["pod-7"]
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert await Inspector(redis).workers(pool) == []


@pytest.mark.parametrize("what", ["redis", "pool", "container", "import"])
async def test_sigterm_ends_a_starting_worker_at_once(start_workers, redis_url, pool, tmp_path, what):
    """A pod that is deleted during any part of the start does not use up its grace period."""
    if what == "redis":
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            nowhere = free.getsockname()[1]
        worker = start_workers(f"redis://127.0.0.1:{nowhere}/0", pool).start()
        sign = "Redis does not answer"
    elif what == "pool":
        handler = '{"python": {"app": "worker_app:app"}}'
        worker = start_workers(redis_url, PoolRef("test", "not-yet")).start(app=None, AGENTPOOL_HANDLER=handler)
        sign = "has no settings yet"
    elif what == "container":
        worker = start_workers(redis_url, pool).start("--handler-http", "http://127.0.0.1:1/", app=None)
        sign = "nothing listens yet"
    else:
        (tmp_path / "slow.py").write_text("import sys, time\nprint('importing', flush=True)\ntime.sleep(600)\n")
        worker = start_workers(redis_url, pool).start(app="slow:app", PYTHONPATH=str(tmp_path))
        sign = "importing"
    await until(lambda: sign in worker.log(), "the worker waits")
    worker.send(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0


async def test_a_worker_that_leaves_during_registration_keeps_no_lease(redis, redis_url, pool, monkeypatch):
    """The worker removes its registration, although the answer to the registration never arrived."""
    register, asked = Consumer.register, asyncio.Event()

    async def unanswered(consumer, **fields):
        await register(consumer, **fields)
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Consumer, "register", unanswered)
    app = App()
    app.handler("any")(lambda payload: None)
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=60_000))
    worker = Worker(app, settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1"))
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(asked.wait(), 20)
    assert len(await Inspector(redis).workers(pool)) == 1
    worker.leave()
    await asyncio.wait_for(running, 20)
    assert await Inspector(redis).workers(pool) == []


async def test_reload_starts_the_changed_program(workers, redis, pool, tmp_path):
    """With --reload, the saved file runs next; the parent process ends with its child."""
    program = tmp_path / "changing.py"
    source = "from agentpool_worker import App\napp = App()\n@app.handler('say')\nasync def say(p):\n    return {!r}\n"
    program.write_text(source.format("old"))
    parent = workers.start("--reload", app="changing:app", PYTHONPATH=str(tmp_path))
    producer = Producer(redis, pool)

    async def says() -> str:
        job = await producer.submit(JobRequest(kind="say"))
        await until(lambda: succeeded(redis, pool, job.job_id), "the job has succeeded")
        return (await Inspector(redis).job(pool, job.job_id)).result

    assert await says() == "old"
    program.write_text(source.format("a new one"))
    await until(lambda: "restarting" in parent.log(), "the change is noticed")
    await until(lambda: parent.log().count("serves pool") == 2, "the new worker serves")
    assert await says() == "a new one"
    parent.send(signal.SIGTERM)
    assert parent.wait() == 0


async def test_reload_stopped_during_a_drain_starts_no_new_worker(workers, redis, pool, tmp_path):
    """A signal between the end of the old worker and the start of the new worker ends both processes."""
    program = tmp_path / "changing.py"
    program.write_text(APP.read_text())
    await Inspector(redis).configure(pool, PoolSettings(drain_ms=600_000))
    parent = workers.start("--reload", app="changing:app", PYTHONPATH=str(tmp_path))
    job = (await Producer(redis, pool).submit(JobRequest(kind="nap", payload=600))).job_id
    await until(lambda: workers.runs()["start", job], "the job runs")
    program.write_text(program.read_text() + "# changed\n")
    await until(lambda: "leaving" in parent.log(), "the old worker drains")
    parent.send(signal.SIGTERM)
    assert await asyncio.to_thread(parent.wait) == 0
    assert parent.log().count("serves pool") == 1
    assert (await Inspector(redis).job(pool, job)).attempt == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its killed parent")
async def test_a_killed_reloader_leaves_no_worker_behind(workers):
    """The worker drains as on SIGTERM."""
    parent = workers.start("--reload")
    await until(lambda: "serves pool" in parent.log(), "the worker serves")
    (child,) = psutil.Process(parent.process.pid).children()
    parent.send(signal.SIGKILL)
    await until(lambda: "has left" in parent.log(), "the worker has left")
    await until(lambda: not child.is_running(), "its process has ended")


async def test_a_cancelled_embedded_worker_requeues_its_jobs(redis, redis_url, pool):
    """As when Ctrl-C ends the surrounding program: no lease remains to expire, and no attempt is lost."""
    app, begun = App(), asyncio.Event()

    @app.handler("hang")
    async def hang(payload, ctx):
        begun.set()
        await asyncio.Event().wait()

    settings = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1")
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=60_000, drain_ms=600_000))
    running = asyncio.create_task(Worker(app, settings).run())
    job = (await Producer(redis, pool).submit(JobRequest(kind="hang"))).job_id
    await asyncio.wait_for(begun.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(running), 20)
    record = await Inspector(redis).job(pool, job)
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)
    assert await Inspector(redis).workers(pool) == []


async def test_a_cancelled_worker_reports_the_cancel_during_an_outage(redis_server, redis, pool, monkeypatch):
    """The surrounding program sees its own cancellation; the log reports the undelivered results."""
    monkeypatch.setattr("agentpool_worker.worker.DELIVER_SECONDS", 0.2)
    app, begun = App(), asyncio.Event()

    @app.handler("hang")
    async def hang(payload, ctx):
        begun.set()
        await asyncio.Event().wait()

    await Inspector(redis).configure(pool, PoolSettings(lease_ms=60_000))
    async with contextlib.aclosing(await Line(lambda: redis_server.port).open()) as line:
        settings = settings_from({}, redis_url=line.url, pool=pool, http_port=0, http_host="127.0.0.1")
        running = asyncio.create_task(Worker(app, settings).run())
        await Producer(redis, pool).submit(JobRequest(kind="hang"))
        await asyncio.wait_for(begun.wait(), 20)
        line.cut()
        running.cancel()
        await asyncio.wait({running}, timeout=20)
        assert running.cancelled()


async def test_a_cancelled_start_is_no_order_to_leave(redis_url, pool, monkeypatch):
    """Before serving, a worker ends in silence only after `leave`."""
    app = App()

    async def start():
        raise asyncio.CancelledError

    monkeypatch.setattr(app, "start", start)
    settings = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1")
    running = asyncio.create_task(Worker(app, settings).run())
    await asyncio.wait({running}, timeout=20)
    assert running.cancelled()


async def test_the_program_of_the_page_serves_an_unconfigured_pool(redis, redis_url, tmp_path):
    """Two workers inside programs on one machine, as in docs/handlers-python.md, use defaults and say so once."""
    pool = PoolRef("test", "embedded")
    agents, *_, program = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    program = program.replace("redis://localhost:6379/0", redis_url).replace("default/my-pool", str(pool))
    (tmp_path / "my_agents.py").write_text(agents)
    (tmp_path / "program.py").write_text(program)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AGENTPOOL_")}
    told = tmp_path / "told"

    async def serve(count: int) -> asyncio.subprocess.Process:
        with told.open("ab") as errors:
            running = await asyncio.create_subprocess_exec(
                sys.executable, "program.py", cwd=tmp_path, env=plain, stderr=errors
            )

        async def serves() -> bool:
            assert running.returncode is None, told.read_text()
            with contextlib.suppress(UnknownPoolError):
                return len(await Inspector(redis).workers(pool)) == count
            return False

        await until(serves, f"{count} workers serve")
        return running

    started: list[asyncio.subprocess.Process] = []
    try:
        started.append(await serve(1))
        started.append(await serve(2))
        async with Client(redis_url, pool=pool) as client:
            greeting = await (await client.submit("greet", {"name": "Ada"})).result(timeout=30)
    finally:
        for running in started:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
            await running.wait()
        await Inspector(redis).purge(pool)
    assert greeting == {"greeting": "Hello Ada"}
    assert told.read_text().count("publishes the defaults") == 1


async def test_worker_embeds_in_a_users_own_loop(redis, redis_url, pool):
    """`Worker(app, …).run()` works inside a program, and `leave` drains the worker."""
    app = App()

    @app.handler("double")
    async def double(payload, ctx):
        return payload * 2

    settings = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1")
    worker = Worker(app, settings)
    running = asyncio.create_task(worker.run())
    job = await Producer(redis, pool).submit(JobRequest(kind="double", payload=21))
    await until(lambda: succeeded(redis, pool, job.job_id), "the job has succeeded")
    assert (await Inspector(redis).job(pool, job.job_id)).result == 42
    worker.leave()
    await asyncio.wait_for(running, 20)


def test_every_public_name_can_be_imported():
    """Every name in __all__ can be imported; heavy modules load on first use."""
    package = importlib.import_module("agentpool_worker")
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
    assert sys.modules["agentpool_worker"] is package


async def succeeded(redis, pool, job_id) -> bool:
    return (await Inspector(redis).job(pool, job_id)).state is JobState.SUCCEEDED
