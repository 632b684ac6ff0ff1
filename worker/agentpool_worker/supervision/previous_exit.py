"""End of the previous worker process, as seen by the supervisor.

The supervisor writes it into the environment of each restarted worker. The text is untrusted: an unreadable text counts
as none. The worker reports the end to the queue before registering; a dead letter keeps the words.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "AGENTPOOL_PREVIOUS_EXIT"
KILLED_FROM_OUTSIDE = "killed from outside"  # cause: by a signal that neither the kernel nor the supervisor sent
MOST_LINES = 20  # of the log
MOST_LINE_CHARS = 500  # per line; with the above, well below the 128 KiB of a variable


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviousExit:
    """End of a worker process. Exactly one of `exit_code` and `signal` is set if the end is known."""

    exit_code: int | None = None  # None: ended by a signal
    signal: str | None = None  # signal name, such as SIGSEGV; None: no signal
    cause: str | None = None  # the reason in words if known, such as "out of memory"
    log: tuple[str, ...] = ()  # the last lines of standard error, oldest first

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self | None:
        """Return the previous end in the environment; None if absent or unreadable."""
        text = (os.environ if environ is None else environ).get(VARIABLE)
        if not text:
            return None
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return cls._from_document(document) if isinstance(document, dict) else None

    def to_environment(self) -> dict[str, str]:
        """Return the variable that carries this end to the next worker."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Self:
        code = document.get("exit_code")
        lines = document.get("log")
        return cls(
            exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
            signal=_text(document.get("signal")),
            cause=_text(document.get("cause")),
            log=tuple(shorten(line) for line in lines[-MOST_LINES:] if isinstance(line, str))
            if isinstance(lines, list)
            else (),
        )


def shorten(line: str) -> str:
    """Return the line in storable form: encodable as UTF-8, without a NUL, and not too long."""
    plain = line.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return plain if len(plain) <= MOST_LINE_CHARS else f"{plain[: MOST_LINE_CHARS - 1]}…"


def explains(previous: PreviousExit | None) -> bool:
    """Return whether the end had no outside cause: then a job that ran alone in the process is the cause.

    A restarted container may have been on a failed node, and a kill from outside is not a job's fault.
    """
    return previous is not None and previous.cause != KILLED_FROM_OUTSIDE


def describe_end(previous: PreviousExit | None, worker: str) -> str:
    """Describe the end: signal or exit code, cause, last log lines."""
    if previous is None:
        return (
            f"the process of worker {worker} ended under its jobs and was started again; "
            "in a cluster `kubectl describe pod` and `kubectl logs --previous` show how it ended"
        )
    if previous.signal:
        end = f"the process of worker {worker} was killed by {previous.signal}"
    elif previous.exit_code is not None:
        end = f"the process of worker {worker} ended with exit code {previous.exit_code}"
    else:
        end = f"the process of worker {worker} ended"
    cause = f" ({previous.cause})" if previous.cause else ""
    log = "\nLast log lines of the process:\n" + "\n".join(previous.log) if previous.log else ""
    return f"{end}{cause}{log}"


def _text(value: object) -> str | None:
    return shorten(value) if isinstance(value, str) and value else None
