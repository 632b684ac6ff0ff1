"""The arithmetic of rollouts, followed to the end by a simulated cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_devcluster.controllers.rollout import Revision, Strategy, plan, plan_scaling, strategy_of


def revision(name, wanted, available=None, pods=None, ceiling=0):
    available = wanted if available is None else available
    return Revision(
        name=name, wanted=wanted, available=available, pods=wanted if pods is None else pods, ceiling=ceiling
    )


def test_percentages_round_surge_up_and_unavailability_down():
    """A quarter of 10 is a surge of 3 pods and 2 unavailable pods; with both at 0, a single pod may still go."""
    assert strategy_of({"replicas": 10}) == Strategy(recreate=False, max_surge=3, max_unavailable=2)
    zero = {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}
    assert strategy_of(zero).max_unavailable == 1


@given(
    wanted=st.integers(0, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    olds=st.lists(st.integers(0, 8), max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_a_rolling_update_always_ends_and_keeps_its_promises(wanted, surge, unavailable, olds, order):
    """Surge and availability hold at any pace, and the new revision gets all pods."""
    if surge == unavailable == 0:
        unavailable = 1
    rules = Strategy(recreate=False, max_surge=surge, max_unavailable=min(unavailable, wanted) or (not surge))
    new = revision("new", 0)
    old = [revision(f"old{index}", size) for index, size in enumerate(olds)]
    total_at_start = sum(olds)
    for _ in range(300):
        available = new.available + sum(one.available for one in old)
        sizes = plan(wanted, rules, new, old)
        everyone = {one.name: one for one in [new, *old]}
        for name, size in sizes.items():
            one = everyone[name]
            everyone[name] = replace(one, wanted=size, available=min(one.available, size))
        new, old = everyone["new"], [everyone[one.name] for one in old]
        assert new.wanted + sum(one.wanted for one in old) <= max(wanted + surge, total_at_start)
        if sizes and new.name not in sizes:
            after = new.available + sum(one.available for one in old)
            assert after >= min(available, wanted - rules.max_unavailable)
        if not sizes:
            if new.available == new.wanted == wanted and not any(one.wanted for one in old):
                return
            late = [one for one in [new, *old] if one.available < one.wanted]
            assert late, "nothing to do and nothing to wait for, yet not done"
            chosen = order.choice(late)
            if chosen.name == "new":
                new = replace(new, available=new.available + 1)
            else:
                old = [replace(one, available=one.available + 1) if one.name == chosen.name else one for one in old]
    pytest.fail("the rollout did not end")


def test_recreate_waits_until_the_old_pods_are_gone():
    """No new pod starts before each old pod has ended, terminating pods included."""
    rules = Strategy(recreate=True, max_surge=0, max_unavailable=3)
    new = revision("new", 0)
    assert plan(3, rules, new, [revision("old", 3)]) == {"old": 0}
    assert plan(3, rules, new, [revision("old", 0, pods=1)]) == {}
    assert plan(3, rules, new, [revision("old", 0)]) == {"new": 3}
    assert plan(3, rules, revision("new", 3), []) == {}


def test_a_broken_new_revision_is_not_rolled_out_further():
    """While new pods are not available, the allowed minimum of old pods stays."""
    rules = Strategy(recreate=False, max_surge=1, max_unavailable=1)
    stuck = revision("new", 2, available=0)
    assert plan(4, rules, stuck, [revision("old", 3)]) == {}


def test_unhealthy_old_pods_go_first():
    """Unhealthy old pods are removed before healthy old pods."""
    rules = Strategy(recreate=False, max_surge=1, max_unavailable=1)
    sizes = plan(4, rules, revision("new", 1, available=1), [revision("good", 2), revision("bad", 2, available=0)])
    assert sizes == {"bad": 0}


def test_a_change_of_size_goes_to_the_only_live_revision():
    """Scaling without a rollout in progress changes a single number."""
    rules = Strategy(recreate=False, max_surge=1, max_unavailable=0)
    new = revision("new", 3)
    assert plan_scaling(7, rules, new, [revision("old", 0), new]) == {"new": 7}
    assert plan_scaling(0, rules, new, [revision("old", 0), new]) == {"new": 0}
    assert plan_scaling(3, rules, new, [new]) == {}


def test_a_change_of_size_in_mid_rollout_is_shared_in_proportion():
    """Both revisions grow by about their share, and the sum is exact."""
    rules = Strategy(recreate=False, max_surge=2, max_unavailable=1)
    old, new = revision("old", 8, ceiling=12), revision("new", 4, available=2, ceiling=12)
    sizes = plan_scaling(20, rules, new, [old, new])
    assert sizes["old"] + sizes["new"] == 22
    assert sizes["old"] > sizes["new"] > 4
