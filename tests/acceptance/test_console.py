"""The console in a real browser, beside a live `agentpool dev`.

What needs no system behind it is in test_console_pages.py. With AGENTPOOL_SCREENSHOTS set to a directory, the pictures
in docs/images are taken again.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentpool.client import Client
from tests.fixtures.browser import Page, find_browser, photograph
from tests.fixtures.local_system import DevSystem

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
BUTTON = "[...document.querySelectorAll('dialog button')].find(b => b.textContent === {!r})"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def studio() -> Iterator[DevSystem]:
    """A live system."""
    system = DevSystem(f"--image=studio={APPS}")
    yield system
    system.close()


@pytest.fixture
def pool(studio: DevSystem) -> Iterator[str]:
    """A pool of the test's own, as namespace/name."""
    name = f"studio-{next(_numbers)}"
    document = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": SPEC}
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
    """Opens the console as `agentpool dev` prints it."""
    await page.open(f"{studio.gateway_url}/console/#token={studio.token}", **options)
    await page.until("document.querySelector('.card')", "the list of pools is there")
    if where:
        await page.run(f"location.hash = {f'#/{where}'!r}")


async def test_a_stranger_signs_in_with_a_token_by_keyboard_alone(page: Page, studio: DevSystem, pool: str):
    """A wrong token is told, a right one leads to the pools; no request leaves for another host."""
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


async def test_a_pool_is_seen_at_work(page: Page, studio: DevSystem, pool: str, client: Client):
    """Workers wanted and ready, what caps them and why, slots as cells, backlog, jobs found by search."""
    topics = [{"topic": f"chapter {number}", "seconds": 6 + number % 5} for number in range(24)]
    first = [await client.submit("research", topic) for topic in topics]
    drafts = [await client.submit("draft", topics[n], after=first[n : n + 2]) for n in range(4)]
    await client.submit("review", topics[0], after=drafts[:3], priority="critical")
    for n in range(8):
        await client.submit("research", topics[n], priority=("critical", "info")[n % 2])
    dead = await client.submit("publish", {"topic": "the book"}, priority="critical")
    await signed_in(page, studio, pool, height=1500)
    await page.until("document.querySelectorAll('.cell.busy').length === 8", "all slots of both workers are filled")
    await page.until("document.querySelector('#limited').textContent.includes('maxReplicas')", "what caps it is told")
    assert int(await page.run("document.querySelector('[data-count=wanted_replicas]').textContent")) > 2
    await page.until("document.querySelector('[data-count=ready_replicas]').textContent === '2'", "both are ready")
    await page.until("document.querySelectorAll('#chart rect').length > 6", "the backlog is drawn")
    await photograph(page, "console-pool")
    await page.run("document.querySelector('input[type=search]').focus()")
    await page.write(dead.job_id)
    await page.until("document.querySelectorAll('#jobs tbody tr').length === 1", "the search finds one")
    await page.until(f"document.querySelector('[data-job={json.dumps(dead.job_id)}]')", "the dead letter is listed")
    await first[0].result(timeout=60)
    await page.run("document.querySelector('input[type=search]').select()")
    await page.write(first[0].job_id)
    await page.until("!document.querySelectorAll('#jobs tbody tr').length", "no list has a job that has succeeded")
    await page.press("Enter")
    await page.until(
        f"document.querySelector('dialog[open]').textContent.includes({first[0].job_id!r})", "Enter opens it"
    )
    assert not page.errors, page.errors


async def test_a_pool_is_paused_and_resumed_with_a_question(page: Page, studio: DevSystem, pool: str):
    """The AgentPool itself says paused, so that the operator and everybody else know it."""
    await signed_in(page, studio, pool)
    for doing, label, told in (("Pause the pool", "Resume", "true"), ("Resume", "Pause", "")):
        await page.until("document.querySelector('#pause')", "the button is there")
        await page.run("document.querySelector('#pause').click()")
        await page.until(BUTTON.format(doing), "it asks first")
        await page.run(f"{BUTTON.format(doing)}.click()")
        await page.until(f"document.querySelector('#pause').textContent === {label!r}", f"{label} is offered")
        shown = studio.kubectl("get", f"agentpool/{pool.partition('/')[2]}", "-o", "jsonpath={.spec.paused}").strip()
        assert shown in ((told,) if told else ("", "false"))
