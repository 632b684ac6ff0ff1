"""What all tests share: real servers, as pytest plugins in `tests/fixtures`."""

from __future__ import annotations

import signal
from pathlib import Path

from hypothesis import HealthCheck, settings

_FIXTURES = Path(__file__).parent / "fixtures"

pytest_plugins = sorted(f"tests.fixtures.{path.stem}" for path in _FIXTURES.glob("*.py") if path.stem != "__init__")

# No property is about how fast the machine is: a busy one would fail them all by the clock.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")

# A shell starts what runs in the background with SIGINT ignored, and it stays so for all that is started from there:
# the tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
