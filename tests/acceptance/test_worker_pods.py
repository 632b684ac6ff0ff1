"""Workers as pods of a cluster: replaced, resized and ended under load by the operator and Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from agentpool_core.jobs import JobRequest, JobState, PoolRef
from agentpool_core.queue import Inspector, Producer, connect
from tests.fixtures.local_system import DevSystem, eventually

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]

APPS = Path(__file__).parents[1] / "fixtures" / "apps"
IMAGE = "test/worker:1"
PYTHON_HANDLER = {"python": {"app": "worker_app:app"}}


@pytest.fixture(scope="module")
def system():
    """A cluster that has the tests' handlers as an image."""
    system = DevSystem(f"--image={IMAGE}={APPS}")
    yield system
    system.close()


class Pool:
    """An AgentPool, the pool's queue, and the output of the handlers."""

    def __init__(self, system, runs):
        self.system = system
        self.ref = PoolRef("default", f"p-{uuid.uuid4().hex[:8]}")
        self._runs = runs

    def apply(self, *, handler=PYTHON_HANDLER, beside=(), env=(), replicas=2, **worker):
        """Create or change the AgentPool."""
        container = {"name": "worker", "image": IMAGE, "env": [{"name": "RUNS", "value": str(self._runs)}, *env]}
        spec = {
            "handler": handler,
            "worker": {**worker, "template": {"spec": {"containers": [container, *beside]}}},
            "queue": {"redis": {"url": self.system.redis_url}},
            "scaling": {"minReplicas": replicas, "maxReplicas": replicas, "pollSeconds": 1},
        }
        document = {
            "apiVersion": "agentpool.dev/v1alpha1",
            "kind": "AgentPool",
            "metadata": {"name": self.ref.name, "namespace": self.ref.namespace},
            "spec": spec,
        }
        self.system.kubectl("apply", "-f", "-", document=json.dumps(document))
        self.system.kubectl("wait", "--for=condition=Ready", f"agentpool/{self.ref.name}", "--timeout=60s")

    def delete(self):
        """Delete the AgentPool; keep the queue."""
        self.system.kubectl("delete", f"agentpool/{self.ref.name}", "--ignore-not-found", "--wait=false")

    def ask(self, question):
        """Return the answer of `await question(redis)`."""

        async def asked():
            async with contextlib.aclosing(connect(self.system.redis_url)) as redis:
                return await question(redis)

        return asyncio.run(asked())

    def submit(self, kind, payload, count=1):
        """Submit jobs; return the ids."""
        requests = [JobRequest(kind=kind, payload=payload) for _ in range(count)]
        receipts = self.ask(lambda redis: Producer(redis, self.ref).submit_many(requests))
        return [receipt.job_id for receipt in receipts]

    def records(self, jobs):
        """Return the jobs' records."""

        async def read(redis):
            inspector = Inspector(redis)
            return [await inspector.job(self.ref, job_id) for job_id in jobs]

        return self.ask(read)

    def ended(self, jobs):
        """Wait for the end of all jobs; return their records."""
        eventually(lambda: all(job.state.terminal for job in self.records(jobs)), "all jobs to end", within_s=90)
        return self.records(jobs)

    def slots(self):
        """Return each worker's slots."""
        workers = self.ask(lambda redis: Inspector(redis).workers(self.ref))
        return {worker.name: worker.slots for worker in workers}

    def runs(self):
        """Return the number of lines for each (step, job)."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        return Counter((entry["what"], entry["job"]) for entry in map(json.loads, lines))


@pytest.fixture
def pool(system, tmp_path):
    """A pool of this test."""
    pool = Pool(system, tmp_path / "runs")
    yield pool
    pool.delete()
    eventually(lambda: pool.ref.name not in system.kubectl("get", "pods", "-o", "name"), "its pods to be gone")


def test_a_rolling_update_under_load_loses_and_repeats_nothing(system, pool):
    """Every pod is replaced while jobs run: each job succeeds in its first attempt, each step runs exactly once."""
    pool.apply(concurrency=4, drainSeconds=0)
    eventually(lambda: len(pool.slots()) == 2, "two workers")
    old = set(pool.slots())
    jobs = pool.submit("steps", 100, 16)
    eventually(lambda: len(pool.runs()) > 60, "the load to be under way")
    pool.apply(concurrency=4, drainSeconds=0, env=[{"name": "REVISION", "value": "2"}])

    def replaced_under_load():
        if sum(not job.state.terminal for job in pool.records(jobs)) < 16:
            jobs.extend(pool.submit("steps", 100, 16))
        workers = set(pool.slots())
        return not old & workers and len(workers) == 2

    eventually(replaced_under_load, "two new workers", within_s=90)
    records = pool.ended(jobs)
    assert {(record.state, record.attempt) for record in records} == {(JobState.SUCCEEDED, 1)}
    assert {entry.type for record in records for entry in record.history} >= {"returned"}
    steps = [count for (what, _), count in pool.runs().items() if what.startswith("step ")]
    assert (len(steps), set(steps)) == (len(jobs) * 100, {1})


def test_slots_follow_the_pool_without_a_restart(system, pool):
    """A changed `concurrency` reaches running workers through operator and queue; no pod is replaced."""
    pool.apply(concurrency=3)
    eventually(lambda: list(pool.slots().values()) == [3, 3], "two workers with three slots")
    before = pool.slots()
    pool.apply(concurrency=6)
    eventually(lambda: list(pool.slots().values()) == [6, 6], "two workers with six slots")
    assert set(pool.slots()) == set(before)
    jobs = pool.submit("nap", 600, 12)
    eventually(lambda: len(pool.runs()) == 12, "twelve jobs to run at once")
    pool.ask(lambda redis: asyncio.gather(*(Producer(redis, pool.ref).cancel(job_id) for job_id in jobs)))
    pool.ended(jobs)


def test_a_container_beside_the_worker_outlives_its_jobs(system, pool):
    """At the end of the pod, the agent's container, which dies at SIGTERM, waits until the worker has drained."""
    agent = {"name": "agent", "image": IMAGE, "command": ["python", str(APPS / "http_agent.py"), "$(PORT)"]}
    pool.apply(handler={"http": {"port": 9000}}, beside=[agent], replicas=1, drainSeconds=60)
    eventually(pool.slots, "a worker")
    (job_id,) = pool.submit("any", 4)
    eventually(lambda: pool.records([job_id])[0].state is JobState.RUNNING, "the job to run")
    pool.delete()
    (record,) = pool.ended([job_id])
    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1), record.error
    assert record.result == {"slept": 4, "job": job_id, "pod": record.history[-1].worker}


class Stranger(BaseHTTPRequestHandler):
    """A program of the machine's user, which answers every job with success."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of this machine at which a stranger answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_jobs_reach_the_program_of_their_own_pod_only(system, tmp_path, taken_port):
    """Two pools of two replicas and a stranger have the same port, and each job is answered by its worker's pod."""
    agent = {"name": "agent", "image": IMAGE, "command": ["python", str(APPS / "http_agent.py"), "$(PORT)"]}
    pools = [Pool(system, tmp_path / name) for name in ("one", "two")]
    for each in pools:
        each.apply(handler={"http": {"port": taken_port}}, beside=[agent], concurrency=2)
    for each in pools:
        eventually(lambda each=each: len(each.slots()) == 2, "two workers", within_s=60)
        for record in each.ended(each.submit("any", 0, 8)):
            assert record.state is JobState.SUCCEEDED, record.error
            assert record.result["pod"] == record.history[-1].worker
            assert record.result["pod"].startswith(each.ref.name)
        each.delete()


def test_a_normal_start_and_end_of_a_pod_cause_no_warning(system, pool):
    """No probe and no hook fails, although an idle worker may end before the neighbour's hook connects."""
    beside = {"name": "agent", "image": IMAGE, "command": ["sleep", "600"]}
    pool.apply(beside=[beside], replicas=1)
    eventually(lambda: len(pool.slots()) == 1, "a worker", within_s=60)
    (worker,) = pool.slots()
    pool.delete()
    eventually(lambda: worker not in system.kubectl("get", "pods", "-o", "name"), "its pod to be gone")
    told = json.loads(system.kubectl("get", "events", "-o", "json", f"--field-selector=involvedObject.name={worker}"))
    assert {"Started", "Killing"} <= {event["reason"] for event in told["items"]}
    assert not [(event["reason"], event["message"]) for event in told["items"] if event["type"] == "Warning"]
