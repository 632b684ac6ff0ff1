"""The kernel's counters of a container, as both versions of control groups show them."""

from __future__ import annotations

import pytest

from agentpool_worker.supervision.cgroup import has_grown, oom_kills, throttled_seconds

FILES = {
    "second version": {
        "memory.events": "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n",
        "cpu.stat": "usage_usec 5\nnr_throttled 4\nthrottled_usec 2500000\n",
    },
    "first version": {
        "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "cpu/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 2500000000\n",
    },
}


@pytest.mark.parametrize("version", FILES)
def test_both_versions_are_read(tmp_path, version):
    """The same counters come from either version's files."""
    for name, text in FILES[version].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert oom_kills(tmp_path) == 2
    assert throttled_seconds(tmp_path) == 2.5


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "oom_killer 3\n", "\udcff"])
def test_an_unreadable_counter_is_unknown(tmp_path, text):
    """A file without the counter, or none at all, is no zero."""
    (tmp_path / "memory.events").write_text(text, errors="surrogateescape")
    assert oom_kills(tmp_path) is None
    assert throttled_seconds(tmp_path) is None


def test_only_two_known_values_show_growth():
    """An unknown value proves nothing."""
    assert has_grown(1, 2)
    assert not any((has_grown(None, 2), has_grown(1, None), has_grown(2, 2)))
