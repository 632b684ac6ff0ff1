"""Settings that a different version, or a person, has written: usable settings apply, and nothing raises."""

from __future__ import annotations

import logging
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.queue import Limit, LimitBy, PoolSettings, Rate, Route, Tenant
from agentpool_core.queue import settings as settings_module
from agentpool_core.queue.settings import AdaptiveMode, JobSchema
from agentpool_worker.slots.adaptive import starting_slots

FULL = PoolSettings(
    routes=(Route(name="code", kinds=("review",), max_running=2),),
    limits=(
        Limit(name="per-key", by=LimitBy.KEY, max_running=2),
        Limit(name="provider", kinds=("review",), routes=("code",), rate=Rate(count=5, period_ms=1_000, burst=2)),
    ),
    tenants=(Tenant(name="acme", weight=3),),
    schemas=(JobSchema(kinds=("review",), input='{"type":"object"}'),),
    lease_ms=12_000,
    ttl_info_ms=5,
)
NAMES = [setting.name for setting in fields(PoolSettings) if setting.init]


def test_published_settings_are_read_back():
    """A reader returns the published settings, and ignores a field of a future version."""
    assert PoolSettings.from_mapping(FULL.to_mapping() | {"a_setting_to_come": "7"}) == FULL


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("adaptive_mode", "Latency"), ("concurrency", "2.5"), ("concurrency", "0"), ("concurrency", "-3")),
        *(("lease_ms", ""), ("lease_ms", "9" * 5_000), ("max_attempts", "many"), ("paused", "yes"), ("routes", "{")),
        *(("tenants", "{"), ("tenants", '[{"name": "a"}]'), ("tenants", '[{"name": "a", "weight": 0}]')),
        *(("limits", "{"), ("limits", '[{"name": "a"}]'), ("limits", '[{"name": "a", "max_running": 0}]')),
        *(("limits", '[{"name": "a", "max_running": 1, "by": "colour"}]'), ("limits", '[{"name": "a", "count": 1}]')),
        *(
            ("routes", '[{"name": "a", "kinds": [], "max_running": null, "slots": Infinity}]'),
            ("limits", '["\\ud800"]'),
        ),
        ("routes", '[{"name": "a", "kinds": ["\\ud800"], "max_running": null}]'),
        *(("routes", '[{"name": 1}]'), ("routes", "7"), ("routes", "[" * 5_000), ("routes", '["code"]')),
    ],
    ids=range(24),
)
def test_a_value_that_cannot_be_used_keeps_its_default_with_a_single_warning(name: str, text: str, caplog):
    """The worker goes on; the log names setting, value and default once, for any number of readings."""
    caplog.set_level(logging.WARNING)
    settings_module._warn_of.cache_clear()  # a different test may have met the same value
    for _ in range(3):
        settings = PoolSettings.from_mapping(FULL.to_mapping() | {name: text})
    default = PoolSettings()
    assert getattr(settings, name) == getattr(default, name)
    assert settings.lease_ms == (12_000 if name != "lease_ms" else default.lease_ms)
    assert len([line for line in caplog.messages if f"setting {name} of the pool" in line]) == 1


@given(st.dictionaries(st.sampled_from([*NAMES, "x"]), st.text(max_size=20) | st.integers().map(str), max_size=5))
def test_any_mapping_gives_settings_that_a_worker_can_use(mapping: dict[str, str]):
    """For any content of the hash, a worker has at least a slot and a lease."""
    settings = PoolSettings.from_mapping(FULL.to_mapping() | mapping)
    assert starting_slots(settings) >= 1
    assert settings.lease_ms >= 1
    assert settings.adaptive_mode in AdaptiveMode
