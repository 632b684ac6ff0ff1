"""The environment of a job's process: an allow-list of the worker's variables, plus variables of the job.

A job runs foreign input or a model's output, so the job gets no secret that was not passed by name: the worker's own
variables, such as the URL of its Redis, stay with the worker. `agentpool_worker.handlers.command` starts the process
with it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from agentpool_core.environment import REDIS_VARIABLES
from agentpool_core.tracing import child_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_worker.context import Context

# Variables that programs need to find their parts, to use the user's language and to see the pod's devices.
PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)
_NAMES = ("AGENTPOOL_NAMESPACE", "AGENTPOOL_POOL", "AGENTPOOL_WORKER")  # owner of the job; no secrets
_OWN_PREFIX = "AGENTPOOL_"


def inherited_variables(environ: Mapping[str, str], pass_env: Sequence[str]) -> dict[str, str]:
    """Return the worker's variables for its jobs: those of the allow-list and those named by `pass_env`."""
    return {name: value for name, value in environ.items() if _is_passed(name, pass_env)}


def job_variables(ctx: Context) -> dict[str, str]:
    """Return the variables that describe the job."""
    variables = {
        "AGENTPOOL_JOB_ID": ctx.job_id,
        "AGENTPOOL_KIND": ctx.kind,
        "AGENTPOOL_PRIORITY": ctx.priority.value,
        "AGENTPOOL_ATTEMPT": str(ctx.attempt),
        "AGENTPOOL_MAX_ATTEMPTS": str(ctx.max_attempts),
        "AGENTPOOL_DEADLINE": ctx.deadline.isoformat(),
        "AGENTPOOL_REMAINING_SECONDS": f"{ctx.remaining_seconds:.3f}",
    }
    return variables | {name.upper().replace("-", "_"): value for name, value in child_of(ctx.trace).items()}


def _is_passed(name: str, pass_env: Sequence[str]) -> bool:
    if name.startswith(_OWN_PREFIX):
        return name in _NAMES
    if name in REDIS_VARIABLES:  # the worker's own variable, if run by hand: a pattern must not match this name
        return name in pass_env
    return any(fnmatchcase(name, pattern) for pattern in (*PASSED, *pass_env))
