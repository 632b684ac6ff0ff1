"""An outage of the API server in the log: its first line, one a minute, its last, and no echo."""

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
    """An API server that is there or not; counts the questions."""

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
    """Logs through the filter, which runs."""
    monkeypatch.setattr(outage_log_filter, "PROBE_SECONDS", 0.001)
    told = OutageLogFilter(server.answer)
    caplog.handler.addFilter(told)
    caplog.set_level(logging.INFO)
    running = asyncio.create_task(told.run())
    yield told
    await end(running)
    caplog.handler.removeFilter(told)


def parts_fail(error):
    """What the parts log when a request of theirs fails."""
    logging.getLogger("agentpool_operator.election").warning("the Lease could not be renewed or read: %s", error)
    logging.getLogger("agentpool_operator.scale_loop.loop").warning("pool %s is tried again: %s", "ns/p", error)


@pytest.mark.parametrize(("error", "passed"), [(AWAY, 0), (BUSY, 1)], ids=["no answer", "no storage"])
async def test_an_outage_is_told_by_its_first_line_and_its_last(server, echoes, caplog, error, passed):
    """However often everybody fails meanwhile; an answer of the server passes until the outage is known."""
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


async def test_a_long_outage_is_told_again_and_again_in_its_time(server, echoes, caplog, monkeypatch):
    """Who looks at the log in its middle sees it, too."""
    monkeypatch.setattr(outage_log_filter, "REPORT_SECONDS", 0.0)
    server.trouble = AWAY
    parts_fail(AWAY)
    await wait_until(lambda: len(caplog.records) >= 4, "it is told again")
    assert re.fullmatch(r"Kubernetes API unreachable: .*, for \d+ s now\. Retrying .*", caplog.records[-1].message)


async def test_what_is_no_outage_is_told_as_it_comes(server, echoes, caplog):
    """A refusal, rights that lack, and everything else."""
    told = [
        (ForbiddenError(request="GET /x", status=403, message="no"), "pool is tried again: %s"),
        ("nothing", "leading as %s"),
    ]
    for argument, text in told:
        logging.getLogger("agentpool_operator.reconciler").warning(text, argument)
    assert len(caplog.records) == len(told)
    assert server.asked == 0


async def test_a_busy_answer_is_told_and_checked(server, echoes, caplog):
    """A single 5xx may be the first of an outage; the API server is probed, and nothing more is told if it answers."""
    logging.getLogger("agentpool_operator.reconciler").warning("pool is tried again: %s", BUSY)
    await wait_until(lambda: server.asked == 1, "it was asked")
    assert [record.message for record in caplog.records] == [f"pool is tried again: {BUSY}"]


async def test_single_requests_that_fail_are_told_once_a_minute(server, echoes, caplog):
    """The API server answers, but not always: one line says so, with the gravest of what failed and as loudly."""
    for asked in range(1, 4):
        logging.getLogger("agentpool_operator.scale_loop.loop").warning("pool %s is tried again: %s", "ns/p", AWAY)
        logging.getLogger("agentpool_operator.capacity.capacity_watch").info("nodes are listed again: %s", AWAY)
        await wait_until(lambda asked=asked: server.asked == asked, "it was asked")
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.message.endswith(f"it is repeated: pool ns/p is tried again: {AWAY}")
