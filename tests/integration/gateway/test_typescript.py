"""The TypeScript client, built by the compiler and run by Node against a gateway in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import end
from agentpool_core.process.sockets import listening_socket
from agentpool_core.queue.completions import Succeeded, Waiting
from tests.fixtures.serving import ServingConsumer

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "clients/typescript"
TSC = ROOT / "build/npm/api/node_modules/.bin/tsc"
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and TSC.exists()), reason="node or the compiler is missing: make api"
)
README = (CLIENT / "README.md").read_text()
HEAD = """
import { AgentPoolError, Client } from "agentpool-client";
const options = { url: process.env.GATEWAY_URL, pool: process.env.POOL, token: process.env.TOKEN };
const client = new Client(options);
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder in which `agentpool-client` is installed."""
    folder = tmp_path_factory.mktemp("typescript")
    installed = folder / "node_modules/agentpool-client"
    installed.mkdir(parents=True)
    shutil.copy(CLIENT / "package.json", installed)
    subprocess.run(
        [TSC, "--project", CLIENT / "tsconfig.json", "--outDir", installed / "dist"], check=True, timeout=100
    )
    return folder


class GatewayProcess:
    """`agentpool gateway` without authentication, on a port of its own that stays the same after a restart."""

    def __init__(self, redis_url: str) -> None:
        with listening_socket("127.0.0.1", 0) as listener:
            self.port = int(listener.getsockname()[1])
        self._command = [sys.executable, "-m", "agentpool_core", "gateway", "--redis", redis_url, "--no-auth"]
        self._command += [f"--port={self.port}", "--log-level=error"]
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "KUBECONFIG": "/nowhere"}
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        assert "gateway at" in self._process.stderr.readline()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def gateway(redis_server) -> Iterator[GatewayProcess]:
    """A gateway for all pools of the session's Redis."""
    found = GatewayProcess(redis_server.url)
    yield found
    found.kill()


@contextlib.asynccontextmanager
async def node(
    package: Path, gateway: GatewayProcess, pool: PoolRef, text: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of the client's user until the end of the block."""
    program = package / "program.mjs"
    program.write_text(text)
    environment = {**os.environ, "GATEWAY_URL": f"http://127.0.0.1:{gateway.port}", "POOL": str(pool), "TOKEN": "t"}
    process = await asyncio.create_subprocess_exec(
        "node", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def output(process: asyncio.subprocess.Process) -> str:
    """Return everything that a program prints; it must end well."""
    assert process.stdout is not None
    text = (await process.stdout.read()).decode()
    assert await process.wait() == 0, text
    return text


@pytest.fixture
async def worker(consumer) -> AsyncIterator[ServingConsumer]:
    """A worker whose lease lasts while processes start."""

    async def renew() -> None:
        while True:
            await consumer.renew(slots=10, running=0)
            await asyncio.sleep(1)

    renewing = asyncio.create_task(renew())
    yield consumer
    await end(renewing)


async def serve(consumer, jobs: int) -> None:
    """Play the worker of the README: `greet` emits two chunks, `review` waits for its approval."""
    for _ in range(jobs):
        lease = await consumer.take_one()
        done = Succeeded(job_id=lease.job_id, token=lease.token, result=lease.payload)
        if lease.kind == "review" and lease.token == 1:
            done = Waiting(job_id=lease.job_id, token=lease.token, signals=(("approval", 1),))
        elif lease.kind == "greet":
            await consumer.emit(lease, 1, ['"Hel"', '"lo"'])
        await consumer.settle([done])


async def test_the_snippets_of_the_readme_work(package, gateway, pool, worker):
    """The snippets run in the README's order in one module; each call prints the expected output."""
    snippets = "\n".join(re.findall(r"```js\n(.*?)```", README, re.DOTALL)).replace("default/greeter", str(pool))
    async with node(package, gateway, pool, snippets) as program:
        serving = asyncio.create_task(serve(worker, 3))
        text = await output(program)
        await serving
    printed = ["{ name: 'you' }", "Hel", "lo", "{ text: '…' }", "cancelled no longer needed", "succeeded", "1 null"]
    assert text.splitlines() == printed


REFUSALS = """
const outcomes = [
  () => client.job("nobody"),
  () => client.submit("a b"),
  () => client.submit("greet", null, { priorty: "task" }),
  () => new Client({ ...options, pool: "default/none" }).queue(),
  async () => {
    for (const payload of [1, 2]) await client.submit("greet", payload, { idempotency_key: "k" });
  },
  async () => (await client.submit("greet")).result({ timeout: 0.05 }),
  () => new Client({ ...options, url: "http://127.0.0.1:1", repeats: 0 }).queue(),
  () => client.find({ cursor: "nonsense" }),
];
for (const outcome of outcomes) {
  try {
    await outcome();
    console.log("none");
  } catch (error) {
    if (!(error instanceof AgentPoolError)) throw error;
    console.log(error.name, error.field ?? "-", Boolean(error.remedy));
  }
}
"""


async def test_refusals_are_typed_errors(package, gateway, pool):
    """Each has the name of the Python client's error, the field, and the remedy."""
    text = HEAD + REFUSALS
    async with node(package, gateway, pool, text) as program:
        printed = (await output(program)).splitlines()
    assert printed == [
        "UnknownJobError - true",
        "InvalidJobError kind true",
        "InvalidJobError priorty true",
        "UnknownPoolError - true",
        "IdempotencyConflictError - true",
        "ResultTimeoutError - false",
        "GatewayUnreachableError - false",
        "InvalidJobError cursor true",
    ]


FOLLOWING = """
const receipt = await client.submit("greet");
const events = [];
const followed = (async () => {
  for await (const event of client.events({ job_id: receipt.job_id })) events.push(event.type);
})();
for await (const chunk of receipt.stream()) console.log(chunk.value);
console.log(await receipt.result());
await followed;
console.log(events.at(-1));
"""


async def test_a_stream_survives_the_death_of_the_gateway(package, gateway, pool, worker):
    """Each chunk arrives once, and the result after the restart at the same address."""
    text = HEAD + FOLLOWING
    async with node(package, gateway, pool, text) as program:
        lease = await worker.take_one()
        await worker.emit(lease, 1, ['"one"'])
        assert await program.stdout.readline() == b"one\n"
        gateway.kill()
        await worker.emit(lease, 2, ['"two"'])
        await asyncio.to_thread(gateway.start)
        await worker.emit(lease, 3, ['"three"'])
        await worker.settle([Succeeded(job_id=lease.job_id, token=lease.token, result="done")])
        assert (await output(program)).splitlines() == ["two", "three", "done", "succeeded"]
