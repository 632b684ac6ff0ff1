"""Pauses of the garbage collector: objects that survived a long collection are not searched again."""

from __future__ import annotations

import gc
import itertools

import pytest

from agentpool_operator import gc_tuning
from agentpool_operator.gc_tuning import LONG_PAUSE_SECONDS, ShortPauses


@pytest.fixture
def frozen(monkeypatch):
    """The number of calls of `gc.freeze`."""
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(True))
    return calls


@pytest.mark.parametrize(
    ("generation", "took_s", "times"),
    [(2, 2 * LONG_PAUSE_SECONDS, 1), (2, LONG_PAUSE_SECONDS / 2, 0), (1, 2 * LONG_PAUSE_SECONDS, 0)],
)
def test_only_a_long_full_collection_freezes_its_survivors(monkeypatch, frozen, generation, took_s, times):
    """Young collections and short full collections change nothing."""
    clock = itertools.count(0.0, took_s)
    monkeypatch.setattr(gc_tuning.time, "perf_counter", lambda: next(clock))
    pauses = ShortPauses()
    pauses("start", {"generation": generation})
    pauses("stop", {"generation": generation})
    assert len(frozen) == times


def test_a_long_collection_leaves_nothing_to_search_again(monkeypatch):
    """Python reports a real collection, and the survivors are frozen."""
    monkeypatch.setattr(gc_tuning, "LONG_PAUSE_SECONDS", -1.0)
    pauses = ShortPauses()
    gc.callbacks.append(pauses)
    try:
        gc.collect()
        assert gc.get_freeze_count() > 0
    finally:
        gc.callbacks.remove(pauses)
        gc.unfreeze()
