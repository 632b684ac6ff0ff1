"""Startable jobs of a sample: the room of limits is shared among the jobs that need it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentpool_core.errors import QueueReplyError
from agentpool_core.jobs import PoolRef, Priority
from agentpool_core.queue.snapshots import LimitSnapshot, RouteSnapshot
from agentpool_core.queue.surveys import Room, Share, Survey, startable, surveyed
from tests.fixtures.snapshots import snapshot_with


def share(jobs, route="a", **needs):
    return Share(route=route, needs=needs, jobs=jobs)


@pytest.mark.parametrize(
    ("shares", "rooms", "backlog", "expected"),
    [
        ([share(50, key=1)], {"key": Room(left=2)}, 50, 2),
        ([share(50, key=1), share(50)], {"key": Room(left=2)}, 100, 52),
        ([share(50, key=1), share(50)], {"key": Room(left=2)}, 1_000, 502),  # the sample is a tenth of the backlog
        ([share(50, key=1)], {"key": Room(left=0)}, 10_000, 0),
        ([share(5, one=1, two=1), share(5, two=1)], {"one": Room(left=3), "two": Room(left=4)}, 10, 4),
        ([share(9, tpm=300)], {"tpm": Room(left=1_000)}, 9, 3),
        ([share(9, tpm=300)], {"tpm": Room(left=0, interval_ms=10)}, 9, 1),  # 500 tokens come within the next seconds
        ([share(9, tpm=300)], {"tpm": Room(left=0)}, 9, 0),
        ([share(9)], {}, 4, 4),  # jobs have started since
    ],
)
def test_jobs_share_the_room_of_their_limits(shares, rooms, backlog, expected):
    """Each job takes from all its limits; the whole backlog is taken to be like the sample."""
    assert startable(Survey(shares=tuple(shares), rooms=rooms), {"a": backlog}) == {"a": expected}


def test_routes_are_apart():
    """A route that the sample does not meet has no number."""
    survey = Survey(shares=(share(1), share(4, "b", key=1)), rooms={"key": Room(left=1)})
    assert startable(survey, {"a": 3, "b": 4, "c": 5}) == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "OK",
        [["a", "tpm=1", "1"], ["tpm", "0", "1e-320"]],
        [["a", "tpm=1", "0"], []],
        [["a", "tpm=1"], []],
        [["a", "tpm=x", "1"], []],
    ],
)
async def test_an_impossible_survey_is_an_error_of_the_queue(monkeypatch, reply):
    """The operator and the gateway continue without a survey, whatever a server answers."""

    async def run(*_):
        return reply

    monkeypatch.setattr("agentpool_core.queue.surveys.scripts.SURVEY", SimpleNamespace(run=run))
    limit = LimitSnapshot(name="tpm", by=None, text="", waiting=0, routes=None, free=None, interval_ms=1.0)
    route = RouteSnapshot(name="a", limit=None, queued={Priority.TASK: 5}, running=0)
    with pytest.raises(QueueReplyError):
        await surveyed(SimpleNamespace(), PoolRef("n", "p"), snapshot_with(routes=(route,), limits=(limit,)))
