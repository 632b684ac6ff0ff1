"""The console in a real browser, beside a live `agentpool dev`.

With AGENTPOOL_SCREENSHOTS set to a directory, the pictures in docs/images are taken again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentpool.client import Client
from tests.fixtures.browser import Page, find_browser
from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_browser() is None, reason="Chromium is not installed (apt-get install chromium)"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
APPS = Path(__file__).parents[1] / "fixtures" / "apps"
NAME = "default/studio"
POOL = {
    "apiVersion": "agentpool.dev/v1alpha1",
    "kind": "AgentPool",
    "metadata": {"name": "studio"},
    "spec": {
        "handler": {"python": {"app": "studio:app"}},
        "worker": {
            "concurrency": 4,
            "drainSeconds": 1,
            "template": {"spec": {"containers": [{"name": "worker", "image": "studio"}]}},
        },
        "routes": [{"name": "review", "kinds": ["review"], "maxRunning": 2}],
        "scaling": {"maxReplicas": 2},
        "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "agentpool-redis", "key": "url"}}}},
    },
}
BUTTON = "[...document.querySelectorAll('dialog button')].find(b => b.textContent === {!r})"


@pytest.fixture(scope="module")
def studio() -> Iterator[DevSystem]:
    """A live system with a pool that is asked for more than it may have."""
    system = DevSystem(f"--image=studio={APPS}")
    try:
        system.kubectl("apply", "-f", "-", document=json.dumps(POOL))
        system.kubectl("wait", "--for=condition=Ready", "agentpool/studio", "--timeout=60s")
        yield system
    finally:
        system.close()


@pytest.fixture
async def client(studio: DevSystem):
    """The pool's client."""
    async with Client(studio.redis_url, pool=NAME) as client:
        yield client


async def signed_in(page: Page, studio: DevSystem, where: str = "", **options) -> None:
    """Opens the console as `agentpool dev` prints it."""
    await page.open(f"{studio.gateway_url}/console/#token={studio.token}", **options)
    await page.until("document.querySelector('.card')", "the list of pools is there")
    if where:
        await page.run(f"location.hash = {f'#/{where}'!r}")


async def photograph(page: Page, name: str) -> None:
    """Takes a picture for the docs, where they are wanted."""
    directory = os.environ.get("AGENTPOOL_SCREENSHOTS")
    if directory:
        await page.picture(Path(directory) / f"{name}.png")


async def test_a_stranger_signs_in_with_a_token_by_keyboard_alone(page: Page, studio: DevSystem):
    """A wrong token is told, a right one leads to the pools; no request leaves for another host."""
    await page.open(f"{studio.gateway_url}/console/")
    await page.until("document.activeElement.type === 'password'", "the field for the token has the focus")
    await photograph(page, "console-sign-in")
    await page.write("no-such-token-of-this-gateway")
    await page.press("Enter")
    await page.until("document.querySelector('.error')", "the wrong token is told")
    await page.write(studio.token)
    await page.press("Enter")
    await page.until(f"document.querySelector('.card b').textContent === {NAME!r}", "the pool is listed")
    assert all(url.startswith(studio.gateway_url) for url in page.requests), page.requests
    assert studio.token not in "".join(page.requests)
    assert not [error for error in page.errors if "401" not in error]


async def test_a_pool_is_seen_at_work(page: Page, studio: DevSystem, client: Client):
    """Workers wanted and ready, what caps them and why, slots as cells, backlog, jobs found by search."""
    topics = [{"topic": f"chapter {number}", "seconds": 6 + number % 5} for number in range(24)]
    first = [await client.submit("research", topic) for topic in topics]
    drafts = [await client.submit("draft", topics[n], after=first[n : n + 2]) for n in range(4)]
    await client.submit("review", topics[0], after=drafts[:3], priority="critical")
    for n in range(8):
        await client.submit("research", topics[n], priority=("critical", "info")[n % 2])
    dead = await client.submit("publish", {"topic": "the book"}, priority="critical")
    await signed_in(page, studio, NAME, height=1500)
    await page.until("document.querySelectorAll('.cell.busy').length >= 4", "slots are filled")
    await page.until("document.querySelector('#limited').textContent.includes('maxReplicas')", "what caps it is told")
    assert int(await page.run("document.querySelector('[data-count=wanted_replicas]').textContent")) > 2
    await page.until("document.querySelector('[data-count=ready_replicas]').textContent === '2'", "both are ready")
    await page.until("document.querySelectorAll('#chart rect').length > 6", "the backlog is drawn")
    await photograph(page, "console-pool")
    await page.run("document.querySelector('input[type=search]').focus()")
    await page.write(dead.job_id)
    await page.until("document.querySelectorAll('#jobs tbody tr').length === 1", "the search finds one")
    await page.until(f"document.querySelector('[data-job={json.dumps(dead.job_id)}]')", "the dead letter is listed")
    assert not page.errors, page.errors


async def test_a_job_shows_its_timeline_and_its_graph(page: Page, studio: DevSystem, client: Client):
    """From a job with parents to one of them, by keyboard; what happened stands in its order."""
    urgent = {"priority": "critical"}
    parents = [await client.submit("research", {"topic": "a", "seconds": 1}, **urgent) for _ in range(2)]
    child = await client.submit("draft", {"topic": "b", "seconds": 60}, after=parents, **urgent)
    last = await client.submit("review", {"topic": "c", "seconds": 1}, after=[child], **urgent)
    for parent in parents:
        await parent.result(timeout=100)
    await signed_in(page, studio, NAME)
    button = f"document.querySelector('[data-job={json.dumps(child.job_id)}]')"
    await page.until(button, "the job is listed")
    await page.run(f"{button}.focus()")
    await page.press("Enter")
    await page.until("document.querySelectorAll('.node').length === 4", "four jobs are drawn")
    assert await page.run("document.querySelectorAll('.edge').length") == 3
    steps = await page.run("[...document.querySelectorAll('.timeline b')].map(b => b.textContent)")
    assert steps[0] == "blocked"
    await photograph(page, "console-job")
    await page.run(f"document.querySelector('[data-node={json.dumps(parents[0].job_id)}]').focus()")
    await page.press("Enter")
    await page.until(
        "document.querySelector('dialog pre').textContent.includes('done')", "the parent's result is there"
    )
    await page.press("Escape")
    await page.until("!document.querySelector('dialog').open", "Escape closes the dialog")
    await client.cancel(last.job_id)
    await client.cancel(child.job_id)


async def test_a_job_is_cancelled_and_a_dead_one_replayed(page: Page, studio: DevSystem, client: Client):
    """Each asks first, and asking is not doing."""
    slow = await client.submit("research", {"seconds": 600}, priority="critical")
    dead = await client.submit("publish", {}, priority="critical")
    await signed_in(page, studio, NAME)
    for job, act, doing in ((slow, "cancel", "Cancel the job"), (dead, "replay", "Replay")):
        button = f"document.querySelector('[data-job={json.dumps(job.job_id)}]')"
        await page.until(button, "the job is listed")
        await page.run(f"{button}.click()")
        await page.until(f"document.querySelector('dialog #{act}')", f"{act} is offered")
        await page.run(f"document.querySelector('dialog #{act}').click()")
        await page.until(BUTTON.format("Keep it as it is"), "it asks first")
        await photograph(page, f"console-{act}")
        await page.run(f"{BUTTON.format(doing)}.click()")
    await page.until("!document.querySelector('dialog').open", "the dialog is closed")
    history = (await client.job(dead.job_id)).history
    while [entry.type for entry in history].count("failed") < 2:
        history = (await client.job(dead.job_id)).history
    while (await client.job(slow.job_id)).state.value != "cancelled":
        await page.run("0")


async def test_a_pool_is_paused_and_resumed_with_a_question(page: Page, studio: DevSystem):
    """The AgentPool itself says paused, so that the operator and everybody else know it."""
    await signed_in(page, studio, NAME)
    for doing, label, told in (("Pause the pool", "Resume", "true"), ("Resume", "Pause", "")):
        await page.until("document.querySelector('#pause')", "the button is there")
        await page.run("document.querySelector('#pause').click()")
        await page.until(BUTTON.format(doing), "it asks first")
        await page.run(f"{BUTTON.format(doing)}.click()")
        await page.until(f"document.querySelector('#pause').textContent === {label!r}", f"{label} is offered")
        shown = studio.kubectl("get", "agentpool/studio", "-o", "jsonpath={.spec.paused}").strip()
        assert shown in ((told,) if told else ("", "false"))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
async def test_it_is_readable_wide_and_narrow_dark_and_light(
    page: Page, studio: DevSystem, client: Client, width: int, *, dark: bool
):
    """Nothing hangs over the page's edge, and text stands out from its ground."""
    await signed_in(page, studio, width=width, height=844 if width < 600 else 900, dark=dark)
    jobs = [await client.submit("research", {"seconds": 600}, priority="info") for _ in range(20)]
    name = f"{width}-{'dark' if dark else 'light'}"
    for where, ready in (("", ".card meter"), (NAME, "#scaling .steps")):
        await page.run(f"location.hash = {f'#/{where}'!r}")
        await page.until(f"document.querySelector({ready!r})", "the page is there")
        assert await page.run("document.documentElement.scrollWidth") <= width
        if where:
            await page.until("document.querySelectorAll('#jobs tbody tr').length > 15", "the jobs are listed")
        await photograph(page, f"console-{'pool' if where else 'pools'}-{name}")
    assert await page.run(CONTRAST) >= 4.5
    for job in jobs:
        await client.cancel(job.job_id)


# The least contrast of a text to the ground behind it, as WCAG counts it.
CONTRAST = """(() => {
  const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { const c = getComputedStyle(e).backgroundColor;
    return c === 'rgba(0, 0, 0, 0)' ? (e.parentElement ? ground(e.parentElement) : 'rgb(255, 255, 255)') : c; };
  const texts = [...document.querySelectorAll('main *, header *')].filter((e) => !e.closest('svg')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...texts.map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
})()"""
