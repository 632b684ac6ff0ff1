"""The verdict of a run for endurance: growth is found, noise and a warm-up are not."""

from __future__ import annotations

import pytest

from tests.chaos.endurance import GROWN_SECONDS, Sample, draw, growths, table

TIMES = [GROWN_SECONDS + 10.0 * n for n in range(100)]


def samples_of(quantity, values):
    return [Sample(at, "worker", quantity, value) for at, value in zip(TIMES, values, strict=True)]


@pytest.mark.parametrize(
    ("quantity", "first", "last", "found"),
    [("MiB", 80, 81, 0), ("MiB", 80, 120, 1), ("files", 20, 28, 0), ("files", 20, 60, 1), ("keys", 5_000, 9_000, 1)],
)
def test_a_role_that_grows_is_found(quantity, first, last, found):
    """A leak shows in the last quarter; a difference of a few files does not."""
    leak = [first + (last - first) * n / 99 for n in range(100)]
    assert len(growths(samples_of(quantity, leak))) == found
    assert growths(samples_of(quantity, [first] * 100)) == []


def test_the_table_and_the_picture_show_every_role(tmp_path):
    """A row for each role and quantity; a picture in the format of its name."""
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib: pip install 'agentpool-core[bench]'")
    samples = [*samples_of("MiB", [80] * 100), *samples_of("files", [20] * 100)]
    assert "| worker | 80.0 MiB | 80.0 MiB | 1.00 |" in table(samples)
    draw(samples, tmp_path / "flat.svg")
    assert (tmp_path / "flat.svg").read_text().lstrip().startswith("<?xml")
