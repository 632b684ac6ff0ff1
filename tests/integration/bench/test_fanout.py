"""The fan-out case in small: the bench's figures are correct."""

from __future__ import annotations

from bench.delegations import CRITICALS, DUPLICATES, INFOS, TOTAL, delegations
from bench.fanout_queued import queued
from bench.fanout_refusing import refusing


def test_the_mix_has_the_requested_shares():
    """A tenth are duplicates, a twentieth critical, a fifth info; the seed decides the order."""
    sent = delegations(seed=1)
    first = {delegation.key: delegation for delegation in sent}
    assert (len(sent), len(sent) - len(first)) == (TOTAL, DUPLICATES)
    priorities = [delegation.priority for delegation in first.values()]
    assert (priorities.count("critical"), priorities.count("info")) == (CRITICALS, INFOS)
    assert delegations(seed=1) == sent != delegations(seed=2)


async def test_queued_nothing_is_dropped_and_nothing_runs_twice():
    """The case has its own gateway and workers, and includes duplicates."""
    sent = delegations(seed=1)[:60]
    outcome = await queued([*sent, *sent[:10]])
    assert (outcome.dropped, outcome.run_twice, outcome.ran) == (0, 0, len({one.key for one in sent}))
    assert (outcome.tasks_in_turn, outcome.info_mistimed) == (outcome.tasks, 0)


async def test_refused_some_are_dropped():
    """Twenty slots are all taken at once, and callers give up."""
    outcome = await refusing(delegations(seed=1)[:1000])
    assert outcome.dropped > 0
    assert outcome.ran + outcome.dropped == 1000
