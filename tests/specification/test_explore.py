"""The protocol keeps its promises in every state of small systems, and without any of its rules it does not."""

from __future__ import annotations

import pytest

from tests.specification.__main__ import SMALL, without
from tests.specification.explore import explore

FENCE = "a request of an earlier lease changed the job"
ENDLESS = "a job may never end, although everything fair happens"
FAULTS = {
    "fenced": FENCE,
    "fenced_steps": FENCE,
    "recovers": ENDLESS,
    "compares": ENDLESS,
    "keeps_signals": ENDLESS,
    "returns_steps": "a step that was committed under an earlier lease ran again",
    "counts_attempts": "a token fell, or a job has too many attempts",
}


@pytest.mark.parametrize("bounds", SMALL, ids=str)
def test_no_order_of_events_breaks_a_promise(bounds):
    """Faults, late and repeated requests, lost answers: every job can end, with one live lease at most."""
    found = explore(bounds)
    assert (found.broken, found.story) == ("", ())
    assert found.states > 1_000


@pytest.mark.parametrize("rule", FAULTS)
def test_a_protocol_without_a_rule_breaks_a_promise(rule):
    """The exploration can fail: it tells the shortest story."""
    found = without(rule)
    assert found.broken == FAULTS[rule]
    assert 2 <= len(found.story) <= 8
