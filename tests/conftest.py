"""Shared by all tests: real servers, as pytest plugins in `tests/fixtures`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_FIXTURES = Path(__file__).parent / "fixtures"

pytest_plugins = sorted(f"tests.fixtures.{path.stem}" for path in _FIXTURES.glob("*.py") if path.stem != "__init__")

# No property depends on the speed of the machine: on a busy machine a deadline would fail all properties.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")

# A shell starts what runs in the background with SIGINT ignored, and it stays so for all that is started from there:
# the tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest tests first, so that no long file starts last and runs alone."""
    limits: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        limits[item.path] = max(limits.get(item.path, 0.0), limit.args[0] if limit else 0.0)
    items.sort(key=lambda item: limits[item.path], reverse=True)
