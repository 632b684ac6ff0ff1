"""Startable jobs of a sample: the room of limits is shared among the jobs that need it."""

from __future__ import annotations

import pytest

from agentpool_core.queue.surveys import Room, Share, Survey, startable


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
