"""The election, against a Lease in memory and a clock of the test."""

from __future__ import annotations

import asyncio
import copy
import logging

import pytest

from agentpool_core.errors import ClusterUnreachableError
from agentpool_core.kube.errors import ClashError, ForbiddenError, NotThereError
from agentpool_core.process.cancellation import end
from agentpool_operator.election import Election, Leadership
from agentpool_operator.settings import ElectionSettings
from tests.fixtures.redis import wait_until


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class LeaseServer:
    """A Lease as in the API server: versions, conflicts, absence."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.away = False

    def _reachable(self):
        if self.away:
            raise ClusterUnreachableError("away")

    async def get(self, path):
        self._reachable()
        if self.lease is None:
            raise NotThereError(request=path, status=404, message="no")
        return copy.deepcopy(self.lease)

    async def create(self, path, body, *, gated):
        self._reachable()
        if self.lease is not None:
            raise ClashError(request=path, status=409, message="exists")
        self._store(body)

    async def replace(self, path, body, *, gated):
        self._reachable()
        if body["metadata"].get("resourceVersion") != str(self.version):
            raise ClashError(request=path, status=409, message="changed")
        self._store(body)

    def _store(self, body):
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    return LeaseServer()


@pytest.fixture
def candidate(server, clock):
    def made(name):
        return Election(server, ElectionSettings(identity=name), Leadership(clock=clock))

    return made


async def test_the_first_takes_the_lease_and_the_second_waits(candidate):
    """Of two operators a single operator leads."""
    first, second = candidate("a"), candidate("b")
    await first.campaign()
    await second.campaign()
    assert (first.leading, second.leading) == (True, False)


async def test_a_silent_leader_is_replaced_within_fifteen_seconds(candidate, clock):
    """Looking once a second, the second leads at most fifteen seconds after the last renewal."""
    first, second = candidate("a"), candidate("b")
    await first.campaign()
    while not second.leading:
        clock.now += 1.0
        await second.campaign()
        assert not (first.leading and second.leading)
    assert clock.now <= 15.0


async def test_a_leader_that_cannot_renew_stops_before_a_successor_begins(candidate, server, clock):
    """An isolated leader stops writing before its Lease expires."""
    first = candidate("a")
    await first.campaign()
    server.away = True
    settings = ElectionSettings()
    clock.now = settings.renew_deadline_s + 0.01
    assert not first.leading
    assert settings.renew_deadline_s < settings.lease_s


async def test_a_frozen_leader_notices_its_expiry(candidate, clock):
    """After a pause past the deadline the operator does not lead, even before its next request."""
    first, second = candidate("a"), candidate("b")
    await first.campaign()
    await second.campaign()
    clock.now = 60.0
    await second.campaign()
    assert second.leading
    assert not first.leading
    await first.campaign()
    assert not first.leading


async def test_a_resigning_leader_frees_the_lease_at_once(candidate, clock):
    """A clean stop lets the next operator lead without waiting."""
    first, second = candidate("a"), candidate("b")
    await first.campaign()
    await first.resign()
    await second.campaign()
    assert (first.leading, second.leading) == (False, True)


async def test_a_leader_without_rights_resigns_with_a_single_request_and_a_plain_line(candidate, server, caplog):
    """`helm uninstall` removes roles and account first: the log has no retry and no API error."""
    caplog.set_level(logging.INFO)
    leader, waiting = candidate("a"), candidate("b")
    await leader.campaign()
    await waiting.campaign()
    requests = []

    async def refuse(path):
        requests.append(path)
        raise ForbiddenError(request=path, status=403, message="leases is forbidden: User agentpool-operator cannot")

    server.get = refuse
    await leader.resign()
    await waiting.resign()
    assert len(requests) == 1  # a waiting operator has nothing to free, and sends no request
    (line,) = caplog.messages
    assert line == ("the Lease expires within 10 s: the API server refused to release it (403), as during an uninstall")


async def test_a_leader_with_a_late_renewal_begins_again(server, clock):
    """Work that was refused or skipped in the gap is requested again, although the Lease was never lost."""
    begun = []
    settings = ElectionSettings(identity="a", retry_s=0.01)
    election = Election(server, settings, Leadership(clock=clock), on_lead=lambda: begun.append(clock.now))
    replace = server.replace

    async def late(path, body, *, gated):
        clock.now += 1.0
        await replace(path, body, gated=gated)
        server.replace = replace

    running = asyncio.create_task(election.run())
    await wait_until(lambda: begun == [0.0], "it leads")
    clock.now, server.replace = settings.renew_deadline_s - 0.5, late
    await wait_until(lambda: len(begun) > 1, "it begins anew")
    assert election.leading
    assert begun == [0.0, settings.renew_deadline_s + 0.5]
    await end(running)


async def test_renewing_keeps_the_acquisition_and_a_takeover_counts_a_transition(candidate, server, clock):
    """The Lease counts its transitions."""
    first, second = candidate("a"), candidate("b")
    await first.campaign()
    acquired = server.lease["spec"]["acquireTime"]
    await first.campaign()
    assert server.lease["spec"]["acquireTime"] == acquired
    await second.campaign()
    clock.now = 30.0
    await second.campaign()
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_the_holders_pod_owns_the_lease(server, clock):
    """After an uninstall the garbage collector removes the Lease with the pod; a new leader's pod becomes the owner."""
    first, second = (
        Election(server, ElectionSettings(identity=name, pod=(name, f"uid-{name}")), Leadership(clock=clock))
        for name in ("a", "b")
    )
    await first.campaign()
    assert [owner["uid"] for owner in server.lease["metadata"]["ownerReferences"]] == ["uid-a"]
    await first.resign()
    await second.campaign()
    assert [owner["uid"] for owner in server.lease["metadata"]["ownerReferences"]] == ["uid-b"]
