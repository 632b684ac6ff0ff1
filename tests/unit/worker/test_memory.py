"""The memory guard: a leak makes the worker leave in time, and a peak does not."""

from __future__ import annotations

import types

import pytest

from agentpool_worker.guards.memory import MemoryGuard, open_memory


def test_memory_is_watched_against_the_containers_limit(tmp_path):
    """Both versions of control groups have the limit, and caches do not count; without a limit there is no watch."""
    assert open_memory(None, root=tmp_path) is None
    first = tmp_path / "memory"
    first.mkdir()
    (first / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert open_memory(None, root=tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert open_memory(None, root=tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    memory = open_memory(None, root=tmp_path)
    assert (memory.limit_bytes, memory.used_bytes()) == (1000, 600)
    assert open_memory(10**12).used_bytes() > 10**6


def test_a_peak_of_memory_passes_and_a_leak_makes_the_worker_leave(caplog):
    """Only three looks in a row above nine tenths of the limit are a reason to leave."""
    left = []
    guard = MemoryGuard(
        memory=None, running=lambda: "3 leak", leave=lambda: left.append("leave"), hurry=lambda: left.append("hurry")
    )
    readings = iter([95, 95, 50, 98, 95, 95])
    memory = types.SimpleNamespace(limit_bytes=100, used_bytes=lambda: next(readings))
    reported = []
    for _ in range(6):
        guard.look(memory)
        reported.append(list(left))
    assert reported == [[], [], [], [], [], ["leave"]]
    assert "running: 3 leak" in caplog.text


def test_a_leak_during_the_drain_hurries_the_drain():
    """The drain's time has no value once the kernel is about to end every job: the jobs are requeued, once."""
    left = []
    guard = MemoryGuard(
        memory=None, running=lambda: "3 leak", leave=lambda: left.append("leave"), hurry=lambda: left.append("hurry")
    )
    readings = iter([95, 95, 95, 96, 98])
    memory = types.SimpleNamespace(limit_bytes=100, used_bytes=lambda: next(readings))
    assert [guard.look(memory) for _ in range(5)] == [False, False, False, False, True]
    assert left == ["leave", "hurry"]


@pytest.mark.parametrize(("limit_mib", "rate_mib"), [(256, 10), (256, 30), (4096, 100), (64, 4)])
def test_a_fast_leak_in_a_small_container_leaves_time_to_requeue_jobs(limit_mib, rate_mib):
    """The guard estimates the remaining time: the drain is hurried while the kernel still needs seconds to act."""
    reported = []
    guard = MemoryGuard(
        memory=None,
        running=lambda: "1 leak",
        leave=lambda: reported.append(("leave", used)),
        hurry=lambda: reported.append(("hurry", used)),
    )
    memory = types.SimpleNamespace(limit_bytes=limit_mib * 2**20, used_bytes=lambda: used)
    now, used = 0.0, limit_mib * 2**19
    while used < memory.limit_bytes:
        if guard.glance(memory, now):
            break
        now, used = now + 0.1, used + rate_mib * 2**20 // 10
    (first, _), (last, seen) = reported
    assert (first, last) == ("leave", "hurry")
    left_seconds = (memory.limit_bytes - seen) / (rate_mib * 2**20)
    assert left_seconds >= min(3.5, limit_mib * 0.24 / rate_mib)
    assert guard.words.startswith("ran out of memory: ")


def test_a_quick_rise_that_stops_is_no_leak():
    """Memory that has grown fast and stays below the limit is the need of a job."""
    reported = []
    guard = MemoryGuard(memory=None, running=str, leave=lambda: reported.append(1), hurry=lambda: reported.append(2))
    readings = iter([100, 100, 100, 400, 700, *[850] * 20])
    memory = types.SimpleNamespace(limit_bytes=1000, used_bytes=lambda: next(readings))
    for look in range(25):
        guard.glance(memory, look / 10)
    assert reported == []
