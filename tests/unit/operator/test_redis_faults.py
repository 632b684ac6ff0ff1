"""Faults of Redis in the operator: each fault stays with its pools, and ends no service."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from agentpool_core.errors import QueueUnreachableError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import NotThereError
from agentpool_core.queue.keys import notes_of
from agentpool_core.redis_address import Address
from agentpool_operator.pools.registry import Pools
from agentpool_operator.queue.purge import Purger
from agentpool_operator.queue.reader import QueueReader, backlog_of
from agentpool_operator.queue.redis_connections import RedisConnections
from tests.fixtures.snapshots import snapshot_with

REF = PoolRef("ns", "p")
SNAPSHOT = snapshot_with(settings_revision="of another spec")


class Inspector:
    """A queue that answers readings at once, and hangs in writes."""

    async def snapshots(self, pools):
        return dict.fromkeys(pools, SNAPSHOT)

    async def surveyed(self, _pool, snapshot):
        return snapshot

    async def configure(self, _pool, _settings):
        await asyncio.get_running_loop().create_future()


class Noting:
    """Stand-in of a purger: the note of this cluster stands."""

    async def note(self, *_args, **_fields):
        """Write nothing."""

    def foreign_owner(self, *_args):
        """Return no foreign owner."""
        return ""


async def test_a_redis_that_hangs_while_settings_are_published_is_abandoned():
    """Publishing after a reading shares the time limit of the reading, so no different pool waits."""
    pools = Pools()
    pools.see_pool(
        {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"handler": {"command": {"argv": ["true"]}}}}
    )
    pool = pools.get(REF)
    pool.queue.published = "what was published before"

    async def address(*_):
        return Address(url="redis://h")

    connection = SimpleNamespace(url="redis://h", address=Address(url="redis://h"), inspector=Inspector())
    secrets = SimpleNamespace(address=address, reread_soon=lambda *_: None)
    reader = QueueReader(secrets, SimpleNamespace(open=lambda _, **__: connection), Noting(), timeout_s=0.05)
    pool.queue.address = Address(url="redis://h")
    async with asyncio.timeout(10):
        await reader.read([pool])
    assert pool.queue.problem.reason == "RedisUnreachable"
    assert pool.backlog is None


async def test_pools_with_the_same_url_name_their_own_secrets():
    """The link is shared; a message must not name a Secret of a different tenant's namespace."""
    pools = Pools()
    addresses = {}
    for namespace in ("alpha", "beta"):
        ref = PoolRef(namespace, "p")
        pools.see_pool(
            {
                "metadata": {"name": "p", "namespace": namespace, "uid": namespace},
                "spec": {"handler": {"command": {"argv": ["true"]}}},
            }
        )
        addresses[ref] = Address(url="redis://h", secret=f"key 'url' of Secret 'r' in namespace {namespace!r}")

    async def address(ref, _spec):
        return addresses[ref]

    async def configure(*_):
        raise QueueUnreachableError("no answer")

    inspector = SimpleNamespace(configure=configure)
    connection = SimpleNamespace(url="redis://h", address=addresses[PoolRef("alpha", "p")], inspector=inspector)
    secrets = SimpleNamespace(address=address, reread_soon=lambda *_: None)
    reader = QueueReader(secrets, SimpleNamespace(open=lambda *_, **__: connection), Noting(), timeout_s=1)
    await reader.read(list(pools))
    for namespace, other in (("alpha", "beta"), ("beta", "alpha")):
        message = pools.get(PoolRef(namespace, "p")).queue.problem.message
        assert f"in namespace {namespace!r} cannot be read" in message
        assert other not in message


async def test_loads_of_past_days_that_cannot_be_read_raise_no_minimum(monkeypatch):
    """A learned minimum ends when the queue cannot be read: an old load would keep workers for ever."""
    pools = Pools()
    pools.see_pool(
        {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"handler": {"command": {"argv": ["true"]}}}}
    )
    pool = pools.get(REF)
    pool.queue.address, pool.queue.snapshot = Address(url="redis://h"), SNAPSHOT
    pool.queue.past_loads = dict.fromkeys((1, 2, 3), 500.0)

    async def record(*_, **__):
        raise QueueUnreachableError("no answer")

    monkeypatch.setattr("agentpool_operator.queue.reader.PoolHistory.record", record)
    connections = SimpleNamespace(open=lambda *_: SimpleNamespace(redis=None))
    await QueueReader(None, connections, None, timeout_s=1).record(pool)
    assert pool.queue.past_loads == {}


class Redis:
    """A Redis that fails once a note is to be removed."""

    async def execute_command(self, *command):
        if command[0] == "HGETALL":
            return {REF.name: "cluster uid"}
        assert command[:2] == ("HDEL", notes_of(REF.namespace))
        raise RedisConnectionError("gone")


async def test_a_note_that_cannot_be_removed_is_a_queue_error():
    """A fault of Redis reaches the service as a QueueError, which the service survives."""

    async def get(path):
        if path.endswith("kube-system"):
            return {"metadata": {"uid": "cluster"}}
        raise NotThereError(request=path, status=404, message="not found")

    async def snapshots(pools):
        return {pool: UnknownPoolError(str(pool)) for pool in pools}

    async def purge(_pool, *, permitted):
        assert await permitted()
        return 0

    async def namespaces():
        return [REF.namespace]

    inspector = SimpleNamespace(snapshots=snapshots, purge=purge, namespaces=namespaces)
    connection = SimpleNamespace(url="redis://h", place="h:6379", redis=Redis(), inspector=inspector, namespaces=set())
    purger = Purger(SimpleNamespace(get=get), None, leading=lambda: True)
    with pytest.raises(QueueUnreachableError, match="remove note"):
        await purger.run_once(connection)


async def test_links_close_after_the_death_of_a_listener():
    """Closing a link does not raise the listener's error."""
    connections = RedisConnections(lambda *_: None)
    connection = connections.open(Address(url="redis+sentinel://one:26379,two:26379/service"))
    connection.listener.cancel()

    async def died():
        raise ValueError("unexpected")

    connection.listener = asyncio.create_task(died())
    await asyncio.wait([connection.listener])
    await connections.close()
    assert len(connections) == 0


async def test_a_link_to_several_sentinels_has_a_place():
    """A message names all servers of the URL."""
    connections = RedisConnections(lambda *_: None)
    connection = connections.open(Address(url="redis+sentinel://user:secret@one:26379,two:26379/service"))
    assert connection.place == "one:26379,two:26379"
    await connections.close()


def test_jobs_that_never_ran_are_no_attempts():
    """Cancelled jobs that never started do not count in the run time."""
    snapshot = dataclasses.replace(SNAPSHOT, finished_total=10_000, attempts_total=2, run_ms_total=20_000)
    counters = backlog_of(snapshot).counters
    assert counters.run_s / counters.finished == 10.0
