"""An outage of the API server in the log: a first line, a line per minute, a last line, and no repetition."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from agentpool_core.errors import ClusterUnreachableError
from agentpool_core.kube.errors import BusyError, ForbiddenError
from agentpool_core.process.cancellation import end
from agentpool_operator.cluster import NotLeadingError
from agentpool_operator.status import outage_log_filter
from agentpool_operator.status.outage_log_filter import OutageLogFilter
from tests.fixtures.redis import wait_until

AWAY = ClusterUnreachableError(
    "Kubernetes API unreachable: connection refused (https://h:6443)", remedy="check the network"
)
BUSY = BusyError(request="GET /x", status=500, message="etcdserver: request timed out")


class Server:
    """An API server, reachable or not; counts the requests."""

    def __init__(self):
        self.trouble = None
        self.asked = 0

    async def answer(self):
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def server():
    return Server()


@pytest.fixture
async def echoes(server, caplog, monkeypatch):
    """Logging through the running filter."""
    monkeypatch.setattr(outage_log_filter, "PROBE_SECONDS", 0.001)
    reported = OutageLogFilter(server.answer)
    caplog.handler.addFilter(reported)
    caplog.set_level(logging.INFO)
    running = asyncio.create_task(reported.run())
    yield reported
    await end(running)
    caplog.handler.removeFilter(reported)


def parts_fail(error):
    """Log the lines of two modules with a failed request."""
    logging.getLogger("agentpool_operator.election").warning("the Lease could not be renewed or read: %s", error)
    logging.getLogger("agentpool_operator.scale_loop.loop").warning("pool %s is tried again: %s", "ns/p", error)


@pytest.mark.parametrize(("error", "passed"), [(AWAY, 0), (BUSY, 1)], ids=["no answer", "no storage"])
async def test_an_outage_has_a_first_and_a_last_line(server, echoes, caplog, error, passed):
    """Repeated failures add no line; a 5xx answer passes until the outage is known."""
    server.trouble = error
    logging.getLogger("agentpool_operator.reconciler").warning("pool %s is tried again: %s", "ns/p", error)
    await wait_until(lambda: echoes.away, "it is known to be away")
    for _ in range(100):
        parts_fail(error)
    parts_fail(NotLeadingError("not sent"))
    server.trouble = None
    await wait_until(lambda: not echoes.away, "it is known to be back")
    *before, begins, ends = (record.message for record in caplog.records)
    assert before == ["pool ns/p is tried again: GET /x: 500: etcdserver: request timed out"][:passed]
    assert begins == f"{error.detail}. Retrying every 0.001 s. Pools keep their size until the API server answers."
    assert ends.startswith("the API server answers, after ")


async def test_a_long_outage_is_logged_at_intervals(server, echoes, caplog, monkeypatch):
    """A reader in the middle of the log sees the outage, too."""
    monkeypatch.setattr(outage_log_filter, "REPORT_SECONDS", 0.0)
    server.trouble = AWAY
    parts_fail(AWAY)
    await wait_until(lambda: len(caplog.records) >= 4, "the outage is logged again")
    assert re.fullmatch(r"Kubernetes API unreachable: .*, for \d+ s now\. Retrying .*", caplog.records[-1].message)


async def test_lines_without_an_outage_pass(server, echoes, caplog):
    """A refusal, missing rights, and any different line."""
    reported = [
        (ForbiddenError(request="GET /x", status=403, message="no"), "pool is tried again: %s"),
        ("nothing", "leading as %s"),
    ]
    for argument, text in reported:
        logging.getLogger("agentpool_operator.reconciler").warning(text, argument)
    assert len(caplog.records) == len(reported)
    assert server.asked == 0


async def test_a_busy_answer_passes_and_is_checked(server, echoes, caplog):
    """A single 5xx may begin an outage; the API server is probed, and a good answer adds no line."""
    logging.getLogger("agentpool_operator.reconciler").warning("pool is tried again: %s", BUSY)
    await wait_until(lambda: server.asked == 1, "it was asked")
    assert [record.message for record in caplog.records] == [f"pool is tried again: {BUSY}"]


async def test_single_failed_requests_are_logged_once_a_minute(server, echoes, caplog):
    """The API server answers most requests: a single line has the gravest failure, with the level of that failure."""
    for asked in range(1, 4):
        logging.getLogger("agentpool_operator.scale_loop.loop").warning("pool %s is tried again: %s", "ns/p", AWAY)
        logging.getLogger("agentpool_operator.capacity.capacity_watch").info("nodes are listed again: %s", AWAY)
        await wait_until(lambda asked=asked: server.asked == asked, "it was asked")
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.message.endswith(f"it is repeated: pool ns/p is tried again: {AWAY}")
