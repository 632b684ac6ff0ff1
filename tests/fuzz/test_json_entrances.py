"""Deep or odd JSON at every entrance: stored unchanged and readable by every version, or refused by name.

`AGENTPOOL_FUZZ_CASES` sets the number of texts (a slice by default; 10,000 before a release); the test prints the
count.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agentpool_core.cli.root import root
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import JobId, JobRequest, Lease, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.codec.json_text import MAX_BODY_DEPTH
from agentpool_core.queue.completions import Succeeded
from agentpool_worker.handlers.stream import EventParser, parse_ndjson

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
SEED = int(os.environ.get("AGENTPOOL_FUZZ_SEED", "1"))
ODD = ["NaN", "Infinity", "1e999", "-0", "9" * 5_000, '"\\ud800"', '"\ud800"', '"\\u0000"', '"\x1b[31m"', "", " ",
       "\ufeff1", "{", "}", "[", '{"a":1,"a":2}', "[1,]", "'a'", "nul", '"', "\x00", '{"":{}}']  # fmt: skip


def depth_of(value: object) -> int:
    """Levels of containers; works for any depth."""
    deepest, rest = 0, [(value, 0)]
    while rest:
        inner, depth = rest.pop()
        deepest = max(deepest, depth)
        items = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list | tuple) else ()
        rest += [(item, depth + 1) for item in items]
        deepest = max(deepest, depth + isinstance(inner, dict | list | tuple))
    return deepest


def nested(levels: int, chance: random.Random) -> str:
    """JSON with this number of levels, of objects and arrays, wide or narrow."""
    kinds = [chance.choice("[{") for _ in range(levels)]
    opened = "".join("[" if kind == "[" else '{"[{\\"":' for kind in kinds)
    return opened + "1" + "".join("]" if kind == "[" else "}" for kind in reversed(kinds))


def a_text(chance: random.Random) -> str:
    """A text: odd, deep (often near the limit), torn or plain."""
    match chance.randrange(5):
        case 0:
            return chance.choice(ODD)
        case 1:
            deepest = MAX_BODY_DEPTH
            return nested(chance.choice([1, deepest - 1, deepest, deepest + 1, 200, 990, 1_500, 20_000]), chance)
        case 2:
            text = nested(chance.randrange(300), chance)
            return text[: chance.randrange(len(text) + 1)]
        case 3:
            return "".join(chance.choice('[]{}",:1a\\ ') for _ in range(chance.randrange(300)))
        case _:
            return json.dumps([{"[": [[]] * chance.randrange(300)}, "[" * chance.randrange(300)])


class Entrances:
    """Every entrance; each returns the id of the job with the value, or None if the value was refused by name."""

    def __init__(self, redis, redis_url: str, pool, http, folder: Path) -> None:
        self.redis, self.pool, self.http = redis, pool, http
        self.inspector, self.producer = Inspector(redis), Producer(redis, pool)
        self.worker = Consumer(redis, pool, WorkerId("w"))
        self.base = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        self.file = folder / "jobs.ndjson"
        self.cli = CliRunner(
            env={"REDIS_URL": redis_url, "AGENTPOOL_POOL": str(pool), "AGENTPOOL_REDIS_URL": None, "KUBECONFIG": "/-"}
        )
        self.lease: Lease | None = None
        self.messages = 0

    def all(self) -> list[Callable[[str], Awaitable[JobId | None]]]:
        """All entrances."""
        return [
            *(self.payload, self.many, self.trace, self.checkpoint, self.progress, self.result, self.http_job),
            *(self.http_ndjson, self.a2a, self.literal, self.standard_input, self.lines, self.templates, self.handlers),
        ]

    async def payload(self, text: str) -> JobId | None:
        """`Producer.submit`, used by clients, children and the gateway."""
        return (await self.producer.submit(JobRequest(kind="k", payload=_value(text)))).job_id

    async def many(self, text: str) -> JobId | None:
        """`submit_many`: all jobs of the call or none."""
        wanted = [JobRequest(kind="k"), JobRequest(kind="k", payload=_value(text))]
        return (await self.producer.submit_many(wanted))[1].job_id

    async def trace(self, text: str) -> JobId | None:
        """The headers of a trace."""
        await self.producer.submit(JobRequest(kind="k", trace={"t": _value(text)}))
        return None

    async def checkpoint(self, text: str) -> JobId | None:
        """A handler's state."""
        await self.worker.checkpoint(await self._lease(), _value(text))
        return None

    async def progress(self, text: str) -> JobId | None:
        """A handler's progress."""
        await self.worker.progress(await self._lease(), _value(text))
        return None

    async def result(self, text: str) -> JobId | None:
        """A handler's result."""
        lease = await self._lease()
        await self.worker.settle([Succeeded(job_id=lease.job_id, token=lease.token, result=_value(text))])
        self.lease = None
        return None

    async def http_job(self, text: str) -> JobId | None:
        """A job over HTTP."""
        return await self._posted("application/json", f'{{"kind": "k", "payload": {text}}}', "/jobs")

    async def http_ndjson(self, text: str) -> JobId | None:
        """Many jobs over HTTP."""
        return await self._posted("application/x-ndjson", f'{{"kind": "k", "payload": {text}}}\n', "/jobs")

    async def a2a(self, text: str) -> JobId | None:
        """A message of an agent."""
        self.messages += 1
        part = f'{{"kind": "data", "data": {{"value": {text}}}}}'
        message = f'{{"messageId": "m{self.messages}", "role": "user", "parts": [{part}]}}'
        call = f'{{"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {{"message": {message}}}}}'
        return await self._posted("application/json", call, "/a2a")

    async def literal(self, text: str) -> JobId | None:
        """A payload as an argument of the command line."""
        return None if text.startswith(("@", "-")) or "\0" in text else await self._command("submit", "k", text)

    async def standard_input(self, text: str) -> JobId | None:
        """A payload on standard input."""
        return await self._command("submit", "k", "-", stdin=text)

    async def lines(self, text: str) -> JobId | None:
        """Jobs in an NDJSON file."""
        self.file.write_bytes(f'{{"kind": "k", "payload": {text}}}\n'.encode(errors="surrogatepass"))
        return await self._command("submit", "-f", str(self.file))

    async def templates(self, text: str) -> JobId | None:
        """Payloads in an NDJSON file."""
        self.file.write_bytes(f"{text}\n".encode(errors="surrogatepass"))
        return await self._command("submit", "k", "-f", str(self.file))

    async def handlers(self, text: str) -> JobId | None:
        """Reports of commands and containers: a ValueError fails their job."""
        raw = text.encode(errors="surrogatepass")
        events = EventParser()
        for parse, line in (
            (parse_ndjson, b'{"progress": ' + raw + b"}"),
            (events.feed, b"data: " + raw),
            (events.feed, b""),
        ):
            try:
                parse(line)
            except ValueError:
                continue
        return None

    async def _lease(self) -> Lease:
        if self.lease is None:
            await self.producer.submit(JobRequest(kind="k"))
            leases = await self.worker.claim(50)
            for lease in leases[1:]:
                await self.worker.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
            self.lease = leases[0]
        return self.lease

    async def _posted(self, kind: str, text: str, path: str) -> JobId | None:
        raw = text.encode(errors="surrogatepass")
        answer = await self.http.post(f"{self.base}{path}", content=raw, headers={"Content-Type": kind})
        assert answer.status_code < 500, answer.text
        body = answer.json()
        if answer.status_code >= 400:
            assert body["detail"]
            return None
        found = body.get("jobs", [body])[0]
        return found.get("job_id") or (body.get("result") or {}).get("id")

    async def _command(self, *args: str, stdin: str | None = None) -> JobId | None:
        given = None if stdin is None else stdin.encode(errors="surrogatepass")
        done = await asyncio.to_thread(self.cli.invoke, root, [*args, "-o", "name"], input=given, standalone_mode=False)
        if done.exception is not None:
            assert isinstance(done.exception, AgentPoolError | click.ClickException), repr(done.exception)
            return None
        return JobId(done.stdout.split()[0]) if done.stdout.split() else None


def _value(text: str) -> object:
    """The value in the memory of a program: of any depth."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value: object = text[:100]
        for _ in range(text.count("[")):
            value = [value]
        return value


@pytest.mark.timeout(3600)
async def test_no_json_gets_in_that_could_not_be_read_again(redis, redis_url, pool, gateway, tmp_path):
    """A stored value is at most as deep as allowed and is claimed without a fault; the rest is refused by name."""
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=3_600_000))
    chance = random.Random(SEED)
    seen: Counter[str] = Counter()
    async with gateway.client() as http:
        ways = Entrances(redis, redis_url, pool, http, tmp_path)
        await ways.worker.register(slots=50, host="h")
        for number in range(CASES):
            enter, text = ways.all()[number % len(ways.all())], a_text(chance)
            try:
                job_id = await enter(text)
            except AgentPoolError:
                seen[f"{enter.__name__} refused"] += 1
                continue
            except Exception as error:
                error.add_note(f"{enter.__name__}({text[:300]!r}), {len(text)} characters, seed {SEED}")
                raise
            seen[f"{enter.__name__} {'taken' if job_id else 'done'}"] += 1
            if job_id:
                job = await ways.inspector.job(pool, job_id)
                assert job.undecodable == {}
                assert depth_of(job.payload) <= MAX_BODY_DEPTH
            if number % 20 == 0:
                assert [lease.fault for lease in await _drained(ways)] == []
    print(f"entrances: {dict(sorted(seen.items()))}")  # noqa: T201 - a fuzz run reports the count


async def _drained(ways: Entrances) -> list[Lease]:
    """Ends all jobs; those that could not be read."""
    held = {ways.lease.job_id} if ways.lease else set()
    bad = []
    while leases := [lease for lease in await ways.worker.claim(50) if lease.job_id not in held]:
        bad += [lease for lease in leases if lease.fault]
        await ways.worker.settle([Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases])
    return bad
