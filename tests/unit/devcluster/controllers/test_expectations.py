"""Events that a controller expects before its next pass."""

from __future__ import annotations

from agentpool_devcluster.controllers.expectations import PATIENCE_SECONDS, Expectations
from agentpool_devcluster.kube.objects import ObjectKey, Uid

OWNER = ObjectKey("default", "web")


def test_a_pass_waits_for_all_expected_events():
    """Creations are counted, deletions matched by uid, and an unexpected event does no harm."""
    expectations = Expectations(lambda: 0.0)
    assert expectations.met(OWNER)
    expectations.creation_seen(OWNER)
    expectations.expect_creations(OWNER, 2)
    expectations.expect_deletions(OWNER, [Uid("a")])
    expectations.creation_seen(OWNER)
    expectations.deletion_seen(OWNER, Uid("b"))
    expectations.deletion_seen(OWNER, Uid("a"))
    assert not expectations.met(OWNER)
    expectations.creation_seen(OWNER)
    assert expectations.met(OWNER)


def test_a_lost_event_does_not_block_for_ever():
    """The expectation expires."""
    now = 0.0
    expectations = Expectations(lambda: now)
    expectations.expect_creations(OWNER, 1)
    assert not expectations.met(OWNER)
    now = PATIENCE_SECONDS + 1
    assert expectations.met(OWNER)
