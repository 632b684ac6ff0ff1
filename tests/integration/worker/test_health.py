"""The worker's HTTP addresses, called as the kubelet calls them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

import pytest
from aiohttp import ClientError, ClientSession

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.process.sockets import listening_socket
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from agentpool_worker import App, Worker
from agentpool_worker.settings import settings_from
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.telemetry.health import HealthServer, Probes
from agentpool_worker.telemetry.metrics import WorkerMetrics
from tests.fixtures.workers import until


class Server:
    """A health server of a worker with a test-defined state: staying or leaving, busy or idle."""

    def __init__(self) -> None:
        self.reasons: dict[str, str | None] = {
            "stuck": None,
            "unready": None,
            "staying": "the worker stays",
            "busy": None,
        }
        probes = Probes(**{name: lambda name=name: self.reasons[name] for name in self.reasons})
        self._server = HealthServer(host="127.0.0.1", port=0, probes=probes, metrics=WorkerMetrics(Slots(1)))

    async def __aenter__(self):
        self._running = asyncio.create_task(self._server.run())
        await until(lambda: self._server.port is not None, "the server listens")
        self._session = ClientSession(f"http://127.0.0.1:{self._server.port}")
        return self

    async def __aexit__(self, *_error):
        await self._session.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    @property
    def port(self) -> int | None:
        return self._server.port

    def end(self) -> None:
        self._running.cancel()

    async def refuses(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return True
        writer.close()
        return False

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(path) as answer:
            return answer.status, await answer.text()


@pytest.mark.parametrize(("path", "probe"), [("/healthz", "stuck"), ("/readyz", "unready")])
async def test_probes_fail_with_their_reason(path: str, probe: str):
    """A probe answers 200 without a reason against success, else 503 and the reason."""
    async with Server() as server:
        assert await server.get(path) == (200, "ok\n")
        server.reasons[probe] = "because"
        assert await server.get(path) == (503, "because\n")


async def test_an_accepted_connection_gets_its_answer_though_the_server_ends():
    """A probe that has connected and sent no request yet must not find a closed connection."""
    async with Server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HT")
        assert await server.get("/healthz") == (200, "ok\n")  # so the earlier connection is accepted too
        server.end()
        await until(server.refuses, "it takes no connection any more")
        writer.write(b"TP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_drained_answers_when_the_last_job_has_ended():
    """An early request gets the same answer: the kubelet signals the containers of a pod in any order."""
    async with Server() as server:
        server.reasons["busy"] = "1 jobs run"
        asking = asyncio.create_task(server.get("/drained"))
        done, _ = await asyncio.wait({asking}, timeout=0.3)
        assert not done
        server.reasons["staying"] = None
        done, _ = await asyncio.wait({asking}, timeout=0.3)
        assert not done
        server.reasons["busy"] = None
        assert await asking == (200, "drained\n")


async def test_a_container_that_ends_alone_does_not_wait_for_the_worker(monkeypatch):
    """After the restart of only that container, the worker stays, and its jobs do not delay the answer."""
    monkeypatch.setattr("agentpool_worker.telemetry.health._LEAVING_SECONDS", 0.1)
    async with Server() as server:
        server.reasons["busy"] = "1 jobs run"
        assert await server.get("/drained") == (200, "the worker stays\n")


async def test_a_draining_workers_neighbours_are_kept_until_its_last_job(workers, redis, pool):
    """A real worker after SIGTERM: /drained does not answer while a job runs, and the job succeeds."""
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=1_000))
    job_id = (await Producer(redis, pool).submit(JobRequest(kind="steps", payload=100))).job_id
    worker = workers.start()
    await until(lambda: workers.runs()["step 1", job_id], "the job runs")
    worker.send(signal.SIGTERM)
    with contextlib.suppress(ClientError):  # the worker may be gone before the answer: that ends a hook as well
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{worker.port()}/drained") as answer:
            assert await answer.text() == "drained\n"
    assert workers.runs()["end", job_id] == 1
    assert worker.wait() == 0
    assert (await Inspector(redis).job(pool, job_id)).state is JobState.SUCCEEDED


async def test_a_worker_waits_for_redis_alive_and_not_ready(start_workers, redis_server_factory, pool_ref):
    """A worker waits for an unreachable Redis as long as the startup probe allows; then it serves."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    async with contextlib.aclosing(connect(server.tcp_url)) as redis:
        await Inspector(redis).configure(pool_ref, PoolSettings())
    server.stop()
    handler = '{"python": {"app": "worker_app:app"}}'
    worker = start_workers(server.tcp_url, pool_ref).start(app=None, AGENTPOOL_HANDLER=handler)
    await until(lambda: "Redis does not answer" in worker.get("/readyz")[1], "it says what it waits for")
    assert worker.get("/readyz")[0] == 503
    assert worker.get("/healthz") == (200, "ok\n")
    assert worker.get("/metrics")[0] == 503
    assert "waiting up to 600 s: Redis does not answer" in worker.log()  # the default outside of pods is 30
    server.start()
    await until(worker.ready, "it serves")


async def test_a_usual_start_fails_no_probe(redis, redis_url, pool_ref, monkeypatch):
    """Probes wait until the worker is ready: a failed readiness probe would cause a warning."""
    monkeypatch.setattr("agentpool_worker.worker._USUAL_START_SECONDS", 600.0)
    with contextlib.closing(listening_socket("127.0.0.1", 0)) as listening:
        settings = settings_from({}, redis_url=redis_url, pool=pool_ref)
        worker = Worker(App(), settings, listening=listening)
        running = asyncio.create_task(worker.run())
        async with ClientSession(f"http://127.0.0.1:{listening.getsockname()[1]}") as session:
            asking = asyncio.create_task(in_order(session, "/healthz", "/readyz?draining=ready"))
            await until(lambda: "no settings yet" in worker._unready, "it waits for its pool")
            await Inspector(redis).configure(pool_ref, PoolSettings())
            assert await asking == [200, 200]
        worker.leave()
        await running


async def in_order(session: ClientSession, *paths: str) -> list[int]:
    """Send requests, each after the answer to the last; return their statuses."""
    statuses = []
    for path in paths:
        async with session.get(path) as answer:
            statuses.append(answer.status)
    return statuses


async def test_a_worker_gives_up_after_the_longest_wait(start_workers, pool_ref):
    """The container ends, and the kubelet reports the failure."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        nowhere = free.getsockname()[1]
    worker = start_workers(f"redis://127.0.0.1:{nowhere}/0", pool_ref).start(AGENTPOOL_START_SECONDS="10")
    assert await asyncio.to_thread(worker.wait, 40.0) == 1


async def test_a_pod_that_ends_fails_no_probe_of_the_kubelet(workers, redis, pool, submit_nap):
    """While leaving, the worker is not ready for plain requests, and ready for the kubelet until the end."""
    worker = workers.start()
    await until(worker.ready, "it serves")
    await submit_nap()
    worker.send(signal.SIGTERM)
    await until(lambda: worker.get("/readyz") == (503, "draining\n"), "it drains")
    assert worker.get("/readyz?draining=ready") == (200, "draining\n")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


async def test_a_worker_ends_after_the_hooks_of_its_neighbours(workers, redis, pool):
    """A hook that connects after the end of an idle worker is still answered; a missing hook costs a moment."""
    await Inspector(redis).configure(pool, PoolSettings())
    worker = workers.start(AGENTPOOL_NEIGHBOURS="2")
    await until(worker.ready, "it serves")
    worker.send(signal.SIGTERM)
    await until(lambda: "has left" in worker.log(), "it has left")
    assert worker.get("/drained") == (200, "drained\n")
    assert worker.get("/drained") == (200, "drained\n")
    assert worker.wait() == 0


@pytest.fixture
def submit_nap(workers, redis, pool):
    """Submit a job that runs until it is requeued."""

    async def submit_nap():
        job = (await Producer(redis, pool).submit(JobRequest(kind="nap", payload=600))).job_id
        await until(lambda: workers.runs()["start", job], "a job runs")

    return submit_nap
