"""Errors of the whole system on a single machine.

    AgentPoolError
    └── LocalError
        ├── AppError            an App that no worker could serve
        ├── ChildDiedError      a part of the system ended
        ├── NotReadyError       a part did not become ready in time
        └── MissingPartError    a file or program of the installation is absent

`commands` lets them escape: the root of the command line prints them and exits non-zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import AgentPoolError

if TYPE_CHECKING:
    from collections.abc import Sequence


class LocalError(AgentPoolError):
    """The local system cannot go on."""


class AppError(LocalError):
    """The App of `agentpool dev` cannot be imported, or is none."""

    exit_code = 2


class ChildDiedError(LocalError):
    """The part `name` ended with `code` (negative: the killing signal); `tail` are its last lines."""

    def __init__(self, name: str, code: int, tail: Sequence[str]) -> None:
        self.name = name
        self.code = code
        self.tail = tuple(tail)
        self.how = f"{name} " + (f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
        super().__init__(f"{self.how}{_quoted(tail)}")


class NotReadyError(LocalError):
    """The part `name` was not ready after `seconds`; `tail` are its last lines."""

    def __init__(self, name: str, seconds: float, missing: str, tail: Sequence[str] = ()) -> None:
        self.name = name
        self.seconds = seconds
        super().__init__(f"{name} is not ready after {seconds:g} s: {missing}{_quoted(tail)}")


class MissingPartError(LocalError):
    """Something that the installation should have brought is absent."""


def _quoted(tail: Sequence[str]) -> str:
    return "; its last lines:\n" + "\n".join(f"  {line}" for line in tail) if tail else ""
