"""End of the previous worker process, as seen by the supervisor.

The supervisor writes it into the environment of each restarted worker. The text is untrusted: an unreadable text counts
as none. The worker reports it to the queue when registering.
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


def _text(value: object) -> str | None:
    return shorten(value) if isinstance(value, str) and value else None
