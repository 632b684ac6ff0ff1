"""Effects of the container's limits: processes killed for memory, time without CPU.

Both versions of control groups are read. An unreadable counter is None: unknown is never zero. `supervisor` and
`handlers.command` derive the cause of an end from them.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_OOM_KILLS = (("memory.events", "oom_kill"), ("memory/memory.oom_control", "oom_kill"))
_THROTTLED = (("cpu.stat", "throttled_usec", 1e6), ("cpu/cpu.stat", "throttled_time", 1e9))
OUT_OF_MEMORY = "out of memory"


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how many processes of this container the kernel has killed for want of memory."""
    for file, name in _OOM_KILLS:
        if (value := _counter(root / file, name)) is not None:
            return value
    return None


def throttled_seconds(root: Path = ROOT) -> float | None:
    """Return how long the CPU limit throttled this container."""
    for file, name, per_second in _THROTTLED:
        if (value := _counter(root / file, name)) is not None:
            return value / per_second
    return None


def has_grown(before: int | None, after: int | None) -> bool:
    """Return whether a counter is known to have grown."""
    return before is not None and after is not None and after > before


def _counter(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None
