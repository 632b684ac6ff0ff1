"""The console's pages in a real browser, with a gateway and a simulated worker: every change is confirmed first."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from agentpool_core.client import Client
from agentpool_core.jobs import PoolRef, Step, StepOutcome, WorkerId
from agentpool_core.kube.client import Cluster
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Route, connect
from agentpool_core.queue.completions import Waiting
from agentpool_core.queue.keys import Keys
from tests.fixtures import gateways as tokens
from tests.fixtures.browser import Page, find_browser, photograph
from tests.fixtures.controllers import reference_to
from tests.fixtures.gateways import Served
from tests.fixtures.redis import wait_until
from tests.fixtures.serving import ServingConsumer

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_browser() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
LONG_LEASE_MS = 3_600_000  # the simulated worker sends no heartbeats
BUTTON = "[...document.querySelectorAll('dialog button')].find(b => b.textContent === {!r})"
CONTROLLERS = {"pods": "replicasets", "replicasets": "deployments", "deployments": "agentpools"}
CAPPED = {
    "spec": {"scaling": {"minReplicas": 0, "maxReplicas": 2}},
    "status": {
        "replicas": 2,
        "readyReplicas": 1,
        "desiredReplicas": 2,
        "wantedReplicas": 5,
        "lastDecision": {"at": "2026-01-01T12:00:00Z", "reason": "20 jobs wait for 4 slots"},
        "conditions": [
            {
                "type": "ScalingLimited",
                "status": "True",
                "reason": "MaxReplicas",
                "message": "5 workers are needed and maxReplicas is 2; raise it",
            }
        ],
    },
}


class Declaring(Cluster):
    """A cluster that declares every pool, as after a pass of the operator."""

    def __init__(self) -> None:
        super().__init__(None)

    async def agentpools(self, namespace: str | None = None) -> list[Any]:
        """No AgentPool: the overview has the queues alone."""
        return []

    async def agentpool(self, pool: PoolRef) -> Any:
        """The AgentPool."""
        return CAPPED | {"metadata": {"namespace": pool.namespace, "name": pool.name}}

    async def get(self, path: str, **query: str) -> Any:
        """The pod of a worker, NAME-w, with controllers; NAME is the name of the pool."""
        plural, name = path.split("/")[-2:]
        controller = CONTROLLERS.get(plural)
        owners = [reference_to(f"{controller}/{name.removesuffix('-w')}")] if controller else []
        return {"metadata": {"name": name, "uid": f"uid of {plural}/{name}", "ownerReferences": owners}}

    async def text(self, path: str, **query: str) -> str:
        """The log of a pod: a line of the worker, and one of a program."""
        line = {"time": "12:00", "level": "warning", "message": "no <b>answer</b>", "job_id": "j", "kind": "review"}
        return f"{json.dumps(line)}\nplain"


@pytest.fixture
async def pool(pool: PoolRef, redis) -> PoolRef:
    """The test's pool, with a route that has a limit."""
    routes = (Route(name="review", kinds=("review",), max_running=2),)
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=LONG_LEASE_MS, routes=routes))
    return pool


@pytest.fixture
async def client(redis_url: str, pool: PoolRef) -> AsyncIterator[Client]:
    """The pool's client."""
    async with Client(redis_url, pool=pool) as client:
        yield client


@pytest.fixture
async def console(gateway_factory) -> Served:
    """A gateway with declared pools, and a dashboard."""
    return await gateway_factory(cluster=Declaring(), grafana_url="https://grafana.example.org/d/agentpool")


async def signed_in(page: Page, console: Served, where: str = "", **options) -> None:
    """Open the console with a token behind the #."""
    await page.open(f"{console.url}/console/#token={tokens.ADMIN}", **options)
    await page.until("document.querySelector('.card')", "the list of pools is there")
    if where:
        await page.run(f"location.hash = {f'#/{where}'!r}")


def card_of(pool: PoolRef) -> str:
    """Return the pool's card in the list; pools of different tests have separate cards."""
    return f"document.querySelector('.card[href={json.dumps(f'#/{pool}')}]')"


def listed(job_id: str) -> str:
    """Return the button of a job in the table."""
    return f"document.querySelector('[data-job={json.dumps(job_id)}]')"


async def test_a_job_shows_its_timeline_and_its_relatives(
    console: Served, page: Page, client: Client, consumer: ServingConsumer, pool: PoolRef
):
    """The keyboard leads from a job with parents to a parent; the timeline has the order of the events."""
    parents = [await client.submit("research", {"topic": topic}) for topic in "ab"]
    child = await client.submit("draft", {"topic": "c"}, after=parents)
    await client.submit_many([{"kind": "review", "after": [child.job_id]} for _ in range(200)])
    for _ in parents:
        await consumer.serve_one(result={"done": "chapter"})
    assert (await consumer.take_one()).job_id == child.job_id
    await signed_in(page, console, f"{pool}/jobs")
    await page.until(listed(child.job_id), "the job is listed")
    await page.run(f"{listed(child.job_id)}.focus()")
    await page.press("Enter")
    await page.until("document.querySelector('.family summary')?.textContent.includes('200 × review')", "one line")
    assert await page.run("document.title") == f"Job {child.job_id} · {pool} · AgentPool"
    steps = await page.run("[...document.querySelectorAll('.timeline b')].map(b => b.textContent)")
    assert steps == ["blocked", "queued", "started"]
    await page.run("document.querySelector('.family details').open = true")
    await photograph(page, "console-job")
    await page.run(f"document.querySelector('[data-relative={json.dumps(parents[0].job_id)}]').focus()")
    await page.press("Enter")
    await page.until("document.querySelector('#facts')?.textContent.includes('chapter')", "the parent's result")
    assert not page.errors, page.errors


async def test_a_deleted_pool_says_so(console: Served, page: Page, client: Client, redis, pool: PoolRef):
    """The list and the pool's page say so, without a pause button; the jobs can still be read."""
    job = await client.submit("research", {})
    inspector = Inspector(redis)
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    await signed_in(page, console)
    await page.until(f"{card_of(pool)}.querySelector('.trouble b')?.textContent === 'Deleted'", "the list marks it")
    await page.run(f"location.hash = {f'#/{pool}'!r}")
    await page.until("document.querySelector('.scaling')?.textContent.startsWith('Deleted')", "its page says so")
    assert not await page.run("document.querySelector('#pause') !== null")
    await page.press("j")
    await page.until(listed(job.job_id), "the job is listed")


async def test_quarantined_and_unreadable_jobs_are_marked(
    console: Served, page: Page, client: Client, redis, pool: PoolRef
):
    """The marks are in the list of pools, in the pool's figures and list of jobs, and in the job."""
    suspect, unreadable = [await client.submit("research", {}) for _ in range(2)]
    keys = Keys(pool)
    await redis.hset(keys.job(suspect.job_id), mapping={"losses": "2", "mark": "1"})
    await redis.hset(keys.counters, "suspects", "1")
    await redis.hset(keys.job(unreadable.job_id), "payload", "{bad")
    await signed_in(page, console)
    await page.until(f"{card_of(pool)}.textContent.includes('1 job in quarantine')", "the list marks the pool")
    await page.run(f"location.hash = {f'#/{pool}'!r}")
    await page.until(
        "document.querySelector('#figures')?.textContent.includes('1in quarantine')", "the figures count it"
    )
    await page.press("j")
    await page.until(f"{listed(suspect.job_id)}.closest('tr').textContent.includes('quarantine')", "its row is marked")
    assert not await page.run(f"{listed(unreadable.job_id)}.closest('tr').textContent.includes('quarantine')")
    await page.run(f"{listed(suspect.job_id)}.click()")
    facts = "document.querySelector('#head')?.textContent.includes('2 lost workers · in quarantine: runs alone')"
    await page.until(facts, "the job says why it waits")
    await page.run(f"location.hash = {f'#/{pool}/jobs/{unreadable.job_id}'!r}")
    text = "[...document.querySelectorAll('#facts pre')].some(pre => pre.textContent === 'payload: {bad')"
    await page.until(text, "the job shows the stored text")
    assert not page.errors, page.errors


@pytest.fixture
async def crowd(pool: PoolRef, redis) -> AsyncIterator[list[PoolRef]]:
    """Two hundred pools beside the test's own, with names behind that name."""
    inspector = Inspector(redis)
    others = [PoolRef(pool.namespace, f"{pool.name}-{number:03}") for number in range(200)]
    for other in others:
        await inspector.configure(other, PoolSettings())
    yield others
    for other in others:
        await inspector.purge(other)


async def test_hundreds_of_pools_are_one_request(console: Served, page: Page, pool: PoolRef, crowd: list[PoolRef]):
    """No pool is asked for by itself; a search by name leaves the found cards, and the keyboard keeps its place."""
    await signed_in(page, console)
    last = crowd[-1]
    await page.until(f"{card_of(last)}.querySelector('meter')", "every card is filled")
    await page.run(f"{card_of(last)}.focus()")
    looks = [url for url in page.requests if "/v1/" in url]
    await wait_until(lambda: len([url for url in page.requests if "/v1/" in url]) > len(looks), "it is kept up to date")
    assert {url.partition("/v1/")[2] for url in page.requests if "/v1/" in url} == {"pools:overview"}
    assert await page.run(f"document.activeElement === {card_of(last)}")
    await page.run("document.querySelector('input[type=search]').focus()")
    await page.write(crowd[50].name)
    visible = "[...document.querySelectorAll('.card')].filter(card => card.checkVisibility())"
    await page.until(f"{visible}.length === 1 && {visible}[0] === {card_of(crowd[50])}", "one is found")
    await page.write("?")
    await page.until("document.body.innerText.includes('No pool of that name.')", "what is not there is told")


async def test_figures_without_an_answer_are_stale(gateway_factory, redis_server_factory, page: Page):
    """With a frozen Redis the header no longer says live: it has the age, the figures are greyed, and both recover."""
    server = redis_server_factory()
    redis, pool = connect(server.url), PoolRef("test", "frozen")
    await Inspector(redis).configure(pool, PoolSettings())
    await redis.aclose()
    served = await gateway_factory(server.url)
    await signed_in(page, served, str(pool))
    await page.until("document.getElementById('live').textContent === 'live'", "the page is live")
    await page.run("{ const now = Date.now; Date.now = () => now() + (window.ahead ?? 0); }")
    server.freeze()
    await page.run("void (window.ahead = 45 * 60000)")  # no wait: the clock of the page goes on at once
    await page.until("document.querySelector('#view.stale .figure')", "the figures are greyed")
    assert re.search(r"figures are 4\d min old", await page.run("document.getElementById('live').textContent"))
    await photograph(page, "console-stale")
    server.thaw()
    await page.until("document.getElementById('live').textContent === 'live'", "the page is live again")
    assert not await page.run("document.querySelector('#view.stale')")


async def test_a_running_job_is_cancelled_after_a_question(
    console: Served, page: Page, client: Client, consumer: ServingConsumer, pool: PoolRef
):
    """The request needs a confirmation, also right after a refused one, by the button for irreversible changes."""
    job = await client.submit("research", {})
    await consumer.take_one()
    await signed_in(page, console, f"{pool}/jobs")
    await asked(page, job.job_id, "cancel")
    assert await page.run(f"{BUTTON.format('Cancel the job')}.className") == "danger"
    assert not (await client.job(job.job_id)).cancel_requested
    await page.run(f"{BUTTON.format('Keep it as it is')}.click()")
    await page.until("!document.querySelector('dialog').open", "the job is shown again")
    assert not (await client.job(job.job_id)).cancel_requested
    await page.run("document.querySelector('#cancel').click()")
    keep = BUTTON.format("Keep it as it is")
    await page.run(
        f"""new Promise((closed) => {{
          document.querySelector('dialog').addEventListener('close', closed, {{ once: true }});
          {keep}.click();
          document.querySelector('#cancel').click(); // before the event
        }}).then(() => true)"""
    )
    await page.run(f"{BUTTON.format('Cancel the job')}.click()")

    async def requested() -> bool:
        return (await client.job(job.job_id)).cancel_requested

    await wait_until(requested, "the worker is asked to stop the job")


async def test_a_dead_job_is_replayed_after_a_question(
    console: Served, page: Page, client: Client, consumer: ServingConsumer, pool: PoolRef
):
    """A replay loses nothing, so the question has an ordinary button."""
    job = await client.submit("publish", {"topic": "the book"})
    await consumer.serve_one(error="the press is out of paper; load some, and replay this job")
    await signed_in(page, console, f"{pool}/jobs")
    await asked(page, job.job_id, "replay")
    assert await page.run(f"{BUTTON.format('Replay')}.className") == "primary"
    assert (await client.job(job.job_id)).state.value == "failed"
    await photograph(page, "console-replay")
    await page.run(f"{BUTTON.format('Replay')}.click()")
    await page.until("!document.querySelector('dialog').open", "the dialog is closed")
    assert (await consumer.serve_one()).job_id == job.job_id


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_waiting_job_gets_its_signal_and_shows_its_output(
    console: Served, page: Page, client: Client, redis, pool: PoolRef, width: int
):
    """Output and steps are there, a value that is no JSON is not sent, and the signal is sent after a question."""
    worker = Consumer(redis, pool, WorkerId("w"))
    await worker.register(slots=1, host="h")
    job = await client.submit("publish", {"topic": "the book"})
    (lease,) = await worker.claim(1)
    await worker.emit(lease, 1, ['"The draft "', '"is written."', '{"words": 900}'])
    wait = {"number": 1, "until_ms": None, "value": None, "question": "May the draft go out?"}
    steps = [("draft", StepOutcome.SUCCEEDED, "text"), ("~wait:approval", StepOutcome.WAITING, wait)]
    await worker.record_steps(
        lease,
        [
            Step(number=n, name=name, outcome=outcome, attempt=1, started_at_ms=lease.claimed_at_ms, duration_ms=90,
                 result=result)
            for n, (name, outcome, result) in enumerate(steps, start=1)
        ],
    )  # fmt: skip
    await worker.settle([Waiting(job_id=lease.job_id, token=lease.token, signals=(("approval", 1),), after_ms=60_000)])
    where = f"{pool}/jobs/{job.job_id}"
    await signed_in(page, console, where, width=width, height=844 if width < 600 else 900)
    output = 'The draft is written.{"words":900}'
    await page.until(f"document.querySelector('#output')?.textContent.trim() === {output!r}", "the output is shown")
    await page.until("document.querySelector('#head').textContent.includes('May the draft go out?')", "the question")
    names = await page.run("[...document.querySelectorAll('.timeline b')].map(b => b.textContent)")
    assert {"draft", "~wait:approval"} <= set(names)
    assert await page.run("document.documentElement.scrollWidth") <= width
    await photograph(page, f"console-waiting-{width}")
    await page.run("document.querySelector('form.signal input').select()")
    await page.write("{yes")
    await page.press("Enter")
    problem = "document.querySelector('form.signal .error')?.textContent.startsWith('The value is not JSON')"
    await page.until(problem, "the value is refused")
    await page.run("document.querySelector('form.signal input').select()")
    await page.write('{"approved": false}')
    await page.press("Enter")
    await page.until(BUTTON.format("Send"), "it asks first")
    assert (await client.job(job.job_id)).state.value == "waiting"
    await page.run(f"{BUTTON.format('Send')}.click()")
    await page.until("!document.querySelector('dialog').open", "the dialog is closed")

    async def sent() -> bool:
        return await worker.signal_value(lease, "approval", 1) == '{"approved":false}'

    await wait_until(sent, "the job has the signal")
    assert not page.errors, page.errors


async def asked(page: Page, job_id: str, act: str) -> None:
    """Open a job and press a button, up to the question."""
    await page.until(listed(job_id), "the job is listed")
    await page.run(f"{listed(job_id)}.click()")
    await page.until(f"document.querySelector('#{act}')", f"{act} is offered")
    await page.run(f"document.querySelector('#{act}').click()")
    await page.until(BUTTON.format("Keep it as it is"), "it asks first")


async def test_the_last_hour_is_drawn_at_once(console: Served, page: Page, redis, pool: PoolRef):
    """Backlog, ended jobs and workers come from the server's history; a gap in the points stays a gap."""
    await write_history(redis, pool, gap=range(5, 10))
    await signed_in(page, console, str(pool))
    await page.until("document.querySelectorAll('.chart').length === 3", "the charts are drawn")
    bars = "[...document.querySelectorAll('.chart rect.queued')].map(bar => bar.textContent.split(': ')[1])"
    assert (await page.run(bars))[:4] == ["11 queued", "12 queued", "13 queued", "14 queued"]
    assert (await page.run(bars))[4] == "21 queued"
    assert await page.run("document.querySelector('.chart').textContent.includes('at most 24')")


async def write_history(redis, pool: PoolRef, *, gap: range = range(0)) -> None:
    """Write fifteen points, half a minute apart, with a growing backlog and a failed job in each tenth."""
    now_s, _ = await redis.time()
    for number in range(15):
        if number not in gap:
            point = {"queued": 10 + number, "running": 4, "started": 30 * number, "finished": 30 * number,
                     "failed": 3 * number, "attempts": 30 * number + 30, "run_ms": 900 * number, "slots": 4,
                     "desired": 1 + number // 8, "ready": 1}  # fmt: skip
            await redis.xadd(Keys(pool).history, point, id=f"{now_s * 1000 - (15 - number) * 30_000}-0")


async def test_jobs_are_found_by_filters_and_replayed_by_error(
    console: Served, page: Page, client: Client, consumer: ServingConsumer, pool: PoolRef
):
    """The dead letters of a pool lead to its failures, and a group of these to exactly its jobs, all to be replayed."""
    jobs = await client.submit_many([{"kind": "call", "payload": {"n": n}} for n in range(4)])
    for seconds in (20, 31):
        await consumer.serve_one(error=f"TimeoutError: no <b>answer</b> within {seconds} s")
    for error in ("TimeoutError: no <b>answer</b> within 20 s of the mirror", "ValueError: bad JSON"):
        await consumer.serve_one(error=error)
    await signed_in(page, console, str(pool))
    await page.until("document.querySelector('#dead b')?.textContent === '4'", "the tile of the dead letters")
    await photograph(page, "console-dead")
    await page.run("document.querySelector('#dead').click()")
    rows = "[...document.querySelectorAll('#errors tbody tr')].map(row => row.cells[0].textContent)"
    await page.until("document.querySelectorAll('#errors tbody tr').length === 3", "three groups")
    group = "TimeoutError: no <b>answer</b> within … s"
    found = await page.run(rows)
    assert (found[0], sorted(found)) == (group, [group, f"{group} of the mirror", "ValueError: bad JSON"])
    await photograph(page, "console-failures")
    await page.run("document.querySelector('#errors a').click()")
    await page.until("document.querySelectorAll('#jobs tbody tr').length === 2", "the jobs of the group are listed")
    assert await page.run("document.querySelectorAll('#jobs b').length") == 0
    assert await page.run("document.querySelector('#group b').textContent") == group
    await page.run("document.querySelector('#replay').click()")
    await page.until(BUTTON.format("Replay 2 jobs"), "it asks first, with the number")
    await page.run(f"{BUTTON.format('Replay 2 jobs')}.click()")

    async def waiting() -> int:
        return (await client.queue()).queued

    await wait_until(waiting, "the jobs of the group wait again")
    assert [(await client.job(each.job_id)).state.value for each in jobs].count("failed") == 2
    assert not page.errors, page.errors


async def test_a_person_on_call_finds_events_reasons_and_logs(
    console: Served, page: Page, client: Client, redis, pool: PoolRef
):
    """The newest events are there at once, a job says why it waits, and a worker's log is shown in words."""
    worker = Consumer(redis, pool, WorkerId(f"{pool.name}-w"), version="1.2.3")
    await worker.register(slots=2, host="node-a")
    running = await client.submit("review", {"n": 1})
    await worker.claim(1)
    waiting = await client.submit("review", {"n": 2}, delay=3_600)
    await signed_in(page, console, str(pool))
    rows = "[...document.querySelectorAll('#events tbody tr')].map(row => row.cells[1].textContent)"
    await page.until(f"{rows}.length === 3", "the events of the past are there")
    assert await page.run(rows) == ["scheduled", "started", "queued"]
    dashboard = "[...document.querySelectorAll('#sections a')].find(a => a.textContent.includes('Grafana')).href"
    assert f"var-namespace={pool.namespace}&var-pool={pool.name}" in await page.run(dashboard)
    await client.submit("review", {"n": 3})
    await page.until(f"{rows}[0] === 'queued'", "new events come on top")
    await page.run(f"location.hash = {f'#/{pool}/jobs/{waiting.job_id}'!r}")
    await page.until("document.querySelector('#pending')?.textContent.includes('the job is due in')", "the reason")
    await page.run(f"location.hash = {f'#/{pool}/jobs/{running.job_id}'!r}")
    await page.until(f"document.querySelector('#head').textContent.includes({running.job_id!r})", "the running job")
    assert not await page.run("document.querySelector('#pending')")
    await page.run(f"location.hash = {f'#/{pool}/workers'!r}")
    origin = "document.querySelector('#workers tbody .soft')?.textContent.startsWith('on node-a, version 1.2.3, for ')"
    await page.until(origin, "host, version and age")
    await page.run("document.querySelector('#workers button').click()")
    log = "12:00 warning no <b>answer</b> job_id=j kind=review\\nplain"
    await page.until(f"document.querySelector('dialog pre')?.textContent === '{log}'", "the log in words")
    await page.run("document.querySelector('dialog').close()")
    await page.run(f"location.hash = {f'#/{pool}/jobs/no-such-job'!r}")
    await page.until("document.querySelector('#explanation')", "the page says that there is no such job")
    links = "[...document.querySelectorAll('#explanation a')].map(a => a.getAttribute('href'))"
    assert await page.run(links) == [f"#/{pool}", f"#/{pool}/jobs", "#/"]


async def test_a_reader_sees_no_actions(console: Served, page: Page, client: Client, pool: PoolRef):
    """Without `manage` and `configure` the page offers nothing that the gateway would refuse."""
    job = await client.submit("research")
    await page.open(f"{console.url}/console/#token={tokens.READER}")
    await page.until(card_of(pool), "the list of pools is there")
    await page.run(f"location.hash = {f'#/{pool}'!r}")
    await page.until("document.querySelector('#scaling .steps')", "the pool is shown")
    assert not await page.run("document.querySelector('#pause')")
    await page.run(f"location.hash = {f'#/{pool}/jobs/{job.job_id}'!r}")
    await page.until("document.querySelector('#facts .timeline')", "the job is shown")
    assert not await page.run("document.querySelector('#cancel, #replay, form.signal')")
    await page.run(f"location.hash = {f'#/{pool}/jobs/no-such-job'!r}")
    await page.until("document.querySelector('#explanation')?.textContent.includes('check the id')", "the remedy")


async def test_a_worker_chooses_no_command_for_its_reader(console: Served, page: Page, redis, pool: PoolRef):
    """A worker names itself, so only the name of a pod is part of a command to paste into a shell."""
    for name in ("w-1", "w;id", "-f", "$(id)"):
        await Consumer(redis, pool, WorkerId(name)).register(slots=1, host="node-a")
    await page.open(f"{console.url}/console/#token={tokens.READER}")
    await page.until(card_of(pool), "the list of pools is there")
    await page.run(f"location.hash = {f'#/{pool}/workers'!r}")
    rows = "[...document.querySelectorAll('#workers tbody tr')]"
    await page.until(f"{rows}.length === 4", "the workers are there")
    with_button = f"{rows}.filter(row => row.querySelector('button')).map(row => row.querySelector('a').textContent)"
    assert await page.run(with_button) == ["w-1"]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
async def test_the_pages_are_readable_wide_and_narrow_dark_and_light(
    console: Served,
    page: Page,
    client: Client,
    consumer: ServingConsumer,
    redis,
    pool: PoolRef,
    width: int,
    *,
    dark: bool,
):
    """No element extends past the page's edge, and text contrasts with the background."""
    for number in range(20):
        await client.submit("research", {"number": number}, priority=("critical", "task", "info")[number % 3])
    await consumer.claim(4)
    await signed_in(page, console, width=width, height=844 if width < 600 else 900, dark=dark)
    name = f"{width}-{'dark' if dark else 'light'}"
    await write_history(redis, pool)
    places = {
        "pools": ("", ".card meter"),
        "pool": (str(pool), ".chart rect"),
        "jobs": (f"{pool}/jobs", "#jobs tbody tr:nth-child(20)"),
        "workers": (f"{pool}/workers", "#workers .cell"),
    }
    for title, (where, ready) in places.items():
        await page.run(f"location.hash = {f'#/{where}'!r}")
        await page.until(f"document.querySelector({ready!r})", "the page is there")
        assert await page.run("document.documentElement.scrollWidth") <= width
        await photograph(page, f"console-{title}-{name}")
        assert await page.run(CONTRAST) >= 4.5


async def test_an_event_is_short_on_a_narrow_page(
    console: Served, page: Page, client: Client, consumer: ServingConsumer, pool: PoolRef
):
    """A row has no labels and no empty values, so that several events fit beside each other."""
    await client.submit("research", {"topic": "narrow pages"})
    await consumer.serve_one(error="TimeoutError: no answer within 20 s")
    await signed_in(page, console, str(pool), width=390, height=844)
    rows = "[...document.querySelectorAll('#events tbody tr')]"
    await page.until(f"{rows}.length === 3 && document.querySelector('#routes .wide')", "the events of the job")
    shown = f"{rows}.map(row => [...row.cells].filter(cell => cell.offsetHeight).length)"
    assert await page.run(shown) == [6, 5, 4]
    assert await page.run(f"getComputedStyle({rows}[0].cells[0], '::before').content") == "none"
    assert await page.run(f"{rows}[2].cells[0].offsetTop === {rows}[2].cells[1].offsetTop")
    await page.run("document.querySelector('#events').scrollIntoView()")
    await photograph(page, "console-events-390")


# The least contrast of a text to its background, by WCAG's formula.
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
