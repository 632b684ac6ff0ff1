"""Exit codes of a worker process that mean more than success (0), failure (1) or wrong usage (2).

Who takes over next: `agentpool_worker.supervisor` restarts the worker in place or ends with its code.
"""

from __future__ import annotations

RESTART = 75  # EX_TEMPFAIL: the worker asks for a fresh process in the same container, as after a leak
SICK = 70  # EX_SOFTWARE: the worker itself is broken here; a restart in place would not help
