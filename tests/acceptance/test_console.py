"""The console in a real browser, beside a live `agentpool dev`.

Tests without a live system are in test_console_pages.py. With AGENTPOOL_SCREENSHOTS set to a directory, the tests take
the pictures in docs/images again.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentpool_core.client import Client
from tests.fixtures.browser import Page, find_browser, photograph
from tests.fixtures.local_system import DevSystem
from tests.fixtures.redis import wait_until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_browser() is None, reason="Chromium is not installed (apt-get install chromium)"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
APPS = Path(__file__).parents[1] / "fixtures" / "apps"
SPEC = {
    "handler": {"python": {"app": "studio:app"}},
    "worker": {
        "concurrency": 4,
        "drainSeconds": 1,
        "template": {"spec": {"containers": [{"name": "worker", "image": "studio"}]}},
    },
    "routes": [{"name": "review", "kinds": ["review"], "maxRunning": 2}],
    "scaling": {"maxReplicas": 2},
    "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "agentpool-redis", "key": "url"}}}},
}
NARROW = SPEC | {"worker": {**SPEC["worker"], "concurrency": 1}, "scaling": {"maxReplicas": 1}}  # one job at a time
BROKEN = SPEC | {"handler": {"python": {"app": "no_such_module:app"}}, "scaling": {"minReplicas": 1, "maxReplicas": 1}}
STEPS = "[...document.querySelectorAll('#facts .timeline b')].map(b => b.textContent)"
BUTTON = "[...document.querySelectorAll('dialog button')].find(b => b.textContent === {!r})"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def studio() -> Iterator[DevSystem]:
    """A live system."""
    system = DevSystem(f"--image=studio={APPS}")
    yield system
    system.close()


@pytest.fixture
def pool(studio: DevSystem, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pool of this test, as namespace/name; a parameter sets the spec."""
    name = f"studio-{next(_numbers)}"
    spec = getattr(request, "param", SPEC)
    document = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec}
    studio.kubectl("apply", "-f", "-", document=json.dumps(document))
    studio.kubectl("wait", "--for=condition=QueueReachable", f"agentpool/{name}", "--timeout=60s")
    yield f"default/{name}"
    studio.kubectl("delete", "agentpool", name, "--wait=false")


@pytest.fixture
async def client(studio: DevSystem, pool: str):
    """The pool's client."""
    async with Client(studio.redis_url, pool=pool) as client:
        yield client


async def signed_in(page: Page, studio: DevSystem, where: str = "", **options) -> None:
    """Open the console at the address that `agentpool dev` prints."""
    await page.open(f"{studio.gateway_url}/console/#token={studio.token}", **options)
    await page.until("document.querySelector('.card')", "the list of pools is there")
    if where:
        await page.run(f"location.hash = {f'#/{where}'!r}")


async def test_a_stranger_signs_in_with_a_token_by_keyboard_alone(page: Page, studio: DevSystem, pool: str):
    """A wrong token shows an error, a right token leads to the pools; no request leaves for a foreign host."""
    await page.open(f"{studio.gateway_url}/console/")
    await page.until("document.activeElement.type === 'password'", "the field for the token has the focus")
    await photograph(page, "console-sign-in")
    await page.write("no-such-token-of-this-gateway")
    await page.press("Enter")
    await page.until("document.querySelector('.error')", "the wrong token is told")
    await page.write(studio.token)
    await page.press("Enter")
    listed = f"[...document.querySelectorAll('.card b')].some(b => b.textContent === {pool!r})"
    await page.until(listed, "the pool is listed")
    assert all(url.startswith(studio.gateway_url) for url in page.requests), page.requests
    assert studio.token not in "".join(page.requests)
    assert not [error for error in page.errors if "401" not in error]


@pytest.mark.parametrize("pool", [BROKEN], indirect=True)
async def test_a_pool_without_startable_workers_shows_the_reason(page: Page, studio: DevSystem, pool: str):
    """The card shows the reason; a card like that of a healthy pool would hide the fault."""
    await signed_in(page, studio)
    card = f"[...document.querySelectorAll('.card')].find(card => card.querySelector('b').textContent === {pool!r})"
    await page.until(f"{card}?.textContent.includes('CrashLoopBackOff')", "the list tells the reason")
    await page.until(f"{card}.querySelector('.trouble.error').textContent.includes('no_such_module')", "and the cause")
    await page.run(f"location.hash = {f'#/{pool}'!r}")
    told = "[...document.querySelectorAll('#scaling .error')].some(p => p.textContent.startsWith('Not ready (Crash'))"
    await page.until(told, "the pool's page tells it too")


async def test_a_pool_is_seen_at_work(page: Page, studio: DevSystem, pool: str, client: Client):
    """The page shows desired and ready workers, the cap and its reason, slots as cells, the backlog, and found jobs."""
    topics = [{"topic": f"chapter {number}", "seconds": 6 + number % 5} for number in range(24)]
    first = [await client.submit("research", topic) for topic in topics]
    drafts = [await client.submit("draft", topics[n], after=first[n : n + 2]) for n in range(4)]
    await client.submit("review", topics[0], after=drafts[:3], priority="critical")
    for n in range(8):
        await client.submit("research", topics[n], priority=("critical", "info")[n % 2])
    dead = await client.submit("publish", {"topic": "the book"}, priority="critical")
    await signed_in(page, studio, pool, height=1100)
    await page.until("document.querySelector('#limited').textContent.includes('maxReplicas')", "what caps it is told")
    assert int(await page.run("document.querySelector('[data-count=wanted_replicas]').textContent")) > 2
    await page.until("document.querySelector('[data-count=ready_replicas]').textContent === '2'", "both are ready")
    await page.until("document.querySelectorAll('.chart').length === 3", "the operator has recorded the history")
    waits = "[...document.querySelectorAll('.figure')].find(f => f.textContent.endsWith('a new task waits'))"
    await page.until(rf"/^[\d.]+ (s|m)$/.test({waits}.querySelector('b').textContent)", "the estimate is of these jobs")
    await photograph(page, "console-pool")
    await page.press("w")
    await page.until("document.querySelectorAll('.cell.busy').length === 8", "all slots of both workers are filled")
    await page.run(f"location.hash = {f'#/{pool}/jobs?state=failed'!r}")
    await page.until(f"document.querySelector('[data-job={json.dumps(dead.job_id)}]')", "the dead letter is listed")
    await first[0].result(timeout=60)
    await page.run(f"location.hash = {f'#/{pool}/jobs?state=succeeded'!r}")
    await page.until(f"document.querySelector('[data-job={json.dumps(first[0].job_id)}]')", "ended jobs are listed")
    assert not page.errors, page.errors


async def opened(page: Page, pool: str, job_id: str) -> None:
    """Open a job's page."""
    await page.run(f"location.hash = {f'#/{pool}/jobs/{job_id}'!r}")
    await page.until(f"document.querySelector('.title')?.textContent.includes({job_id!r})", "it is shown")


async def answered(page: Page, act: str, doing: str) -> None:
    """Press a button of an opened job, and confirm the question."""
    await page.until(f"document.querySelector('#{act}')", f"{act} is offered")
    await page.run(f"document.querySelector('#{act}').click()")
    await page.until(BUTTON.format(doing), "it asks first")
    await page.run(f"{BUTTON.format(doing)}.click()")


@pytest.mark.parametrize("pool", [NARROW], indirect=True)
async def test_a_timeline_shows_every_step_of_a_job(page: Page, studio: DevSystem, pool: str, client: Client):
    """The job saved state, yielded to a critical job, continued, failed, was retried, and succeeded."""
    job = await client.submit("revise", {"topic": "the preface", "seconds": 5}, priority="info", preemptible=True)

    async def saved() -> bool:
        return bool((await client.job(job.job_id)).checkpoint)

    await wait_until(saved, "it has saved its state", within_s=60)
    await client.submit("draft", {"seconds": 1}, priority="critical")
    await job.result(timeout=60)
    await signed_in(page, studio, pool)
    await opened(page, pool, job.job_id)
    first = ["queued", "started", "checkpointed", "yielding", "checkpointed", "preempted"]
    again = ["started", "checkpointed", "retrying"]
    assert await page.run(STEPS) == [*first, *again, "queued", "started", "succeeded"]
    assert not page.errors, page.errors


@pytest.mark.parametrize("pool", [NARROW], indirect=True)
async def test_a_running_job_is_cancelled_and_a_dead_job_replayed(
    page: Page, studio: DevSystem, pool: str, client: Client
):
    """The worker stops the cancelled job, and fails the replayed job again; both timelines show the events."""
    running = await client.submit("research", {"seconds": 600})
    dead = await client.submit("publish", {"topic": "the book"})

    async def is_in(job_id: str, state: str, *, attempts: int) -> bool:
        found = await client.job(job_id)
        begun = sum(entry.type == "started" for entry in found.history)
        return (found.state.value, begun) == (state, attempts)

    await wait_until(lambda: is_in(running.job_id, "running", attempts=1), "it is at work", within_s=60)
    await signed_in(page, studio, pool)
    await opened(page, pool, running.job_id)
    await answered(page, "cancel", "Cancel the job")
    await wait_until(lambda: is_in(running.job_id, "cancelled", attempts=1), "its worker has let it go")
    await wait_until(lambda: is_in(dead.job_id, "failed", attempts=1), "the other has failed")
    await opened(page, pool, running.job_id)
    await page.until(f"{STEPS}.at(-1) === 'cancelled'", "the timeline has the end")
    await opened(page, pool, dead.job_id)
    await answered(page, "replay", "Replay")
    await wait_until(lambda: is_in(dead.job_id, "failed", attempts=2), "it has failed again")
    await opened(page, pool, dead.job_id)
    await page.until(f"{STEPS}.filter(step => step === 'failed').length === 2", "the timeline has both failures")
    assert not page.errors, page.errors


async def test_a_pool_is_paused_and_resumed_with_a_question(page: Page, studio: DevSystem, pool: str):
    """The AgentPool has the pause in the spec, for the operator and every other reader."""
    await signed_in(page, studio, pool)
    for doing, label, told in (("Pause the pool", "Resume", "true"), ("Resume", "Pause", "")):
        await page.until("document.querySelector('#pause')", "the button is there")
        await page.run("document.querySelector('#pause').click()")
        await page.until(BUTTON.format(doing), "it asks first")
        await page.run(f"{BUTTON.format(doing)}.click()")
        await page.until(f"document.querySelector('#pause').textContent === {label!r}", f"{label} is offered")
        shown = studio.kubectl("get", f"agentpool/{pool.partition('/')[2]}", "-o", "jsonpath={.spec.paused}").strip()
        assert shown in ((told,) if told else ("", "false"))
