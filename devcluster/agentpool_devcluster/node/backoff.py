"""When a container that ended may start again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_devcluster.node.settings import RestartBackoff


@dataclass(kw_only=True, slots=True)
class CrashBackoff:
    """Restart delays of a container: none, then the first, then doubled each time."""

    settings: RestartBackoff
    failures: int = 0  # ends since the last long run

    def next_wait(self, ran_seconds: float) -> float:
        """Return the seconds to wait after a run of that length."""
        if ran_seconds >= self.settings.reset_seconds:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return min(self.settings.initial_seconds * 2.0 ** (self.failures - 2), self.settings.longest_seconds)


def wait_text(seconds: float) -> str:
    """Return a delay in the kubelet's form: `10s`, `1m20s`, `5m0s`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
