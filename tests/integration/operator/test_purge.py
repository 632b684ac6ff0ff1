"""The remains of deleted pools in a real Redis: no recreated pool is purged, and only the leader purges."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from agentpool_core.errors import ClusterUnreachableError, RetiredPoolError
from agentpool_core.jobs import JobRequest
from agentpool_core.kube.errors import NotThereError
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.keys import notes_of
from agentpool_core.redis_address import Address
from agentpool_operator.pools.registry import Pools
from agentpool_operator.queue import purge
from agentpool_operator.queue.purge import Purger
from agentpool_operator.queue.reader import QueueReader
from tests.fixtures.redis import wait_until

NOTE = "cluster an-old-uid"


class Api:
    """An API server without the pool; after `remade` lookups the pool exists."""

    def __init__(self) -> None:
        self.lookups = 0
        self.remade: float = float("inf")
        self.away = False

    async def get(self, path):
        if self.away:
            raise ClusterUnreachableError("no answer")
        if path.endswith("kube-system"):
            return {"metadata": {"uid": "cluster"}}
        self.lookups += 1
        if self.lookups > self.remade:
            return {"metadata": {"uid": "a-new-uid"}}
        raise NotThereError(request=path, status=404, message="not found")


@pytest.fixture
async def deleted(redis, pool):
    """The queue of a deleted pool, with a note; the rest of both is removed after the test."""
    await Inspector(redis).configure(pool, PoolSettings())
    await redis.hset(notes_of(pool.namespace), pool.name, NOTE)
    inspector = Inspector(redis)
    yield SimpleNamespace(
        url="redis://h", place="h:6379", words=str, redis=redis, inspector=inspector, namespaces=set()
    )
    await redis.hdel(notes_of(pool.namespace), pool.name)
    await Inspector(redis).purge(pool)


async def is_there(redis, pool):
    note = await redis.hget(notes_of(pool.namespace), pool.name)
    return bool(await redis.exists(f"ap:{{{pool}}}:conf")), note == NOTE


async def test_the_queue_of_a_deleted_pool_is_purged(deleted, redis, pool):
    """The keys are deleted first, and then the note."""
    await Purger(Api(), None, leading=lambda: True).run_once(deleted)
    assert await is_there(redis, pool) == (False, False)


async def test_notes_of_an_unlistable_namespace_are_found_by_its_pools(deleted, redis, pool, monkeypatch):
    """An operator's Redis user may be limited to a namespace.

    The pools that it serves on that Redis name the namespace.
    """

    async def none():
        return []

    monkeypatch.setattr(deleted.inspector, "namespaces", none)
    purger = Purger(Api(), None, leading=lambda: True)
    await purger.run_once(deleted)
    assert await is_there(redis, pool) == (True, True)
    deleted.namespaces.add(pool.namespace)
    await purger.run_once(deleted)
    assert await is_there(redis, pool) == (False, False)


async def test_a_retained_queue_is_retired_and_comes_back_with_its_pool(deleted, redis, pool):
    """The jobs stay, new jobs are refused, and published settings open the queue again."""
    producer, inspector = Producer(redis, pool), Inspector(redis)
    await producer.submit(JobRequest(kind="greet"))
    await redis.hset(notes_of(pool.namespace), pool.name, f"{NOTE} retain")
    await Purger(Api(), None, leading=lambda: True).run_once(deleted)
    assert (await inspector.snapshot(pool)).queued == 1
    assert not await redis.hexists(notes_of(pool.namespace), pool.name)
    with pytest.raises(RetiredPoolError):
        await producer.submit(JobRequest(kind="greet"))
    assert await inspector.configure(pool, PoolSettings())
    await producer.submit(JobRequest(kind="greet"))
    assert (await inspector.snapshot(pool)).queued == 2


async def test_a_missing_note_is_written_once_the_cluster_is_known(deleted, redis, pool, monkeypatch):
    """The API server was unreachable at the setup of the pool.

    A later pass writes the note, and the link stays open.
    """
    monkeypatch.setattr(purge, "ASK_AGAIN_SECONDS", 0.0)
    await redis.hdel(notes_of(pool.namespace), pool.name)
    api = Api()
    api.away = True
    purger = Purger(api, None, leading=lambda: True, lives=lambda ref: ref == pool)
    await purger.note(deleted, pool, "an-old-uid", delete=True)
    await purger._run_guarded(deleted)
    assert not await redis.hexists(notes_of(pool.namespace), pool.name)
    assert purger.waiting == {deleted.url}
    api.away = False
    await purger._run_guarded(deleted)
    assert await is_there(redis, pool) == (True, True)
    assert purger.waiting == set()


async def test_a_known_live_pool_is_not_looked_up(deleted, redis, pool):
    """For any number of pools, a deletion costs lookups of the deleted pools only."""
    api = Api()
    await Purger(api, None, leading=lambda: True, lives=lambda ref: ref == pool).run_once(deleted)
    assert (api.lookups, await is_there(redis, pool)) == (0, (True, True))


async def test_a_deleted_pool_with_an_unknown_redis_is_purged(deleted, redis, pool):
    """An operator that first saw the pool during its deletion never read the queue, and checks every Redis."""
    seen = []
    connections = SimpleNamespace(all=lambda: [deleted])
    purger = Purger(Api(), connections, leading=lambda: True, lives=lambda ref: not seen.append(ref) and len(seen) == 1)
    running = asyncio.create_task(purger.run())
    await wait_until(lambda: seen, "a first pass finds it alive")
    purger.check_soon(None)

    async def gone():
        return await is_there(redis, pool) == (False, False)

    await wait_until(gone, "its keys and its note are removed")
    await end(running)


async def test_a_pool_recreated_during_a_purge_keeps_its_queue(deleted, redis, pool):
    """Between the first lookup and the removal a user applies the pool again: keys and note stay."""
    api = Api()
    api.remade = 1
    await Purger(api, None, leading=lambda: True).run_once(deleted)
    assert await is_there(redis, pool) == (True, True)


async def test_an_operator_that_loses_its_lease_during_a_purge_removes_nothing(deleted, redis, pool, caplog):
    """An operator that was frozen after its lookup has lost its Lease, and does not touch the queue."""
    api = Api()
    caplog.set_level(logging.INFO, "agentpool_operator.queue.purge")
    await Purger(api, None, leading=lambda: api.lookups < 2)._run_guarded(deleted)
    assert await is_there(redis, pool) == (True, True)
    assert "left to the operator that leads" in caplog.text


async def test_an_unreachable_redis_is_logged_ever_less_often(caplog):
    """The log has seven of a hundred failed passes, and the end of the outage once."""
    failing = True

    async def execute_command(*_):
        if failing:
            raise OSError("no route")
        return {}

    async def namespaces():
        return []

    connection = SimpleNamespace(
        url="redis://h",
        place="h:6379",
        words=str,
        redis=SimpleNamespace(execute_command=execute_command),
        inspector=SimpleNamespace(namespaces=namespaces),
        namespaces={"test"},
    )
    purger = Purger(Api(), None, leading=lambda: True)
    caplog.set_level(logging.INFO, "agentpool_operator.queue.purge")
    for _ in range(100):
        await purger._run_guarded(connection)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 7
    failing = False
    caplog.clear()
    await purger._run_guarded(connection)
    await purger._run_guarded(connection)
    assert [record.message for record in caplog.records] == ["deleted pools on h:6379 can be purged again"]


async def test_a_queue_of_a_foreign_cluster_is_never_purged(deleted, redis, pool):
    """The first owner's note stays, and so does the queue, despite a pool of the same name in a second cluster."""
    await redis.hset(notes_of(pool.namespace), pool.name, "other-cluster an-uid")
    alive = True
    purger = Purger(Api(), None, leading=lambda: True, lives=lambda _: alive)
    await purger.note(deleted, pool, "an-old-uid", delete=True)
    assert purger.foreign_owner(deleted.url, pool) == "other-cluster"
    alive = False
    await purger.run_once(deleted)
    assert (await redis.hget(notes_of(pool.namespace), pool.name)) == "other-cluster an-uid"
    assert await redis.exists(f"ap:{{{pool}}}:conf")


async def test_a_pool_leaves_the_settings_of_a_foreign_owner(deleted, redis, pool):
    """The owner's settings stay, whatever the pool's spec says, until the note of the owner is removed."""
    await deleted.inspector.configure(pool, PoolSettings(concurrency=7))
    await redis.hset(notes_of(pool.namespace), pool.name, "other-cluster an-uid")
    pools = Pools()
    metadata = {"name": pool.name, "namespace": pool.namespace, "uid": "u"}
    spec = {"handler": {"command": {"argv": ["true"]}}, "worker": {"concurrency": 4}}
    pools.see_pool({"metadata": metadata, "spec": spec})
    purger = Purger(Api(), None, leading=lambda: True, lives=lambda _: True)

    async def address(*_):
        return Address(url=deleted.url)

    secrets = SimpleNamespace(address=address, reread_soon=lambda *_: None)
    reader = QueueReader(secrets, SimpleNamespace(open=lambda *_, **__: deleted), purger, timeout_s=20)

    async def read():
        await reader.read(list(pools))
        return pools.get(pool).queue.foreign_owner, (await deleted.inspector.settings(pool)).concurrency

    assert [await read(), await read()] == [("other-cluster", 7)] * 2
    await redis.hdel(notes_of(pool.namespace), pool.name)
    await purger.run_once(deleted)
    assert await read() == ("", 4)


async def test_a_queue_without_an_owner_is_taken_over(deleted, redis, pool):
    """After the removal of the foreign cluster's note, a later pass writes the operator's own note."""
    await redis.hset(notes_of(pool.namespace), pool.name, "other-cluster an-uid")
    purger = Purger(Api(), None, leading=lambda: True, lives=lambda _: True)
    await purger.note(deleted, pool, "an-old-uid", delete=True)
    await redis.hdel(notes_of(pool.namespace), pool.name)
    await purger.run_once(deleted)
    assert purger.foreign_owner(deleted.url, pool) == ""
    assert await is_there(redis, pool) == (True, True)
