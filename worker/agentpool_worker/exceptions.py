"""Exceptions of a handler that decide on its job.

Any other exception fails the attempt, and the pool's retry settings decide. The exceptions of steps are raised by
`ctx.step` (`agentpool_worker.durable.steps`). `Yielded` is not for handlers to raise:
`ctx.checkpoint` raises it to unwind a job that was asked to yield. `agentpool_worker.jobs.execution` turns each of them
into a completion.
"""

from __future__ import annotations

import math


class Retry(Exception):  # noqa: N818 - reads as an instruction: `raise Retry(after_seconds=30)`
    """The attempt failed, and a retry may succeed; not before `after_seconds` (None: the pool's backoff)."""

    def __init__(self, message: str = "the handler asked for a retry", *, after_seconds: float | None = None) -> None:
        self.after_seconds = _seconds(after_seconds)
        super().__init__(message)


class Overloaded(Retry):
    """The handler, or a service behind it, is too busy: retry later without counting, with fewer jobs at once."""

    def __init__(self, message: str = "the handler is overloaded", *, after_seconds: float | None = None) -> None:
        super().__init__(message, after_seconds=after_seconds)


class Permanent(Exception):  # noqa: N818 - reads as a judgement: `raise Permanent("no such file")`
    """The job can never succeed: it fails for good, regardless of remaining attempts."""


class StepFailedError(Exception):
    """A durable step failed after its own retries: the same exception in every attempt, with the error as its cause.

    A handler may catch it and go on a different way; the step then fails in later attempts too.
    """

    def __init__(self, name: str, error: str) -> None:
        self.name = name  # of the step
        self.error = error  # type and text of the step's error
        super().__init__(f"step {name!r} failed: {error}")


class StepOrderError(Permanent):
    """The program has changed since an earlier attempt: its steps are in a different order."""

    def __init__(self, name: str, *, now_after: str, then_after: str | None = None, instead_of: str = "") -> None:
        self.name = name  # of the step that was reached
        now = f"after {now_after!r}" if now_after else "first"
        if instead_of:
            problem = f"it is new here ({now}), where an earlier attempt ran step {instead_of!r}"
        else:
            then = f"after {then_after!r}" if then_after else "first"
            problem = f"it comes {now} now, and came {then} in an earlier attempt"
        super().__init__(
            f"step {name!r}: {problem}; restore the order of the steps, or put the change into "
            f'`if await ctx.patched("NAME"):`, then replay the job'
        )


class StepBranchError(Permanent):
    """Branches that run at once use one name for steps, in an order that a later attempt may not repeat."""

    def __init__(self, name: str) -> None:
        self.name = name  # of the step
        super().__init__(
            f"step {name!r}: several branches use this name at once, so a later attempt could mix up their results; "
            "give the steps of each branch names of their own, or the agent: durable(…, name=…)"
        )


class StepResultError(Permanent):
    """The result of a step cannot be stored."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name = name  # of the step
        super().__init__(f"step {name!r}: {problem}; {remedy}")


class StepNameError(Permanent):
    """The name of a step cannot be used."""

    def __init__(self, name: str, longest: int) -> None:
        super().__init__(
            f"step {name}: not a name of a step; "
            f"use 1 to {longest} printable characters without '#', not beginning with '~'"
        )


class StepFunctionError(Permanent):
    """The function of a step is no function: most often the call of one, such as `fetch(url)` for `fetch, url`."""

    def __init__(self, name: str, function: str) -> None:
        super().__init__(
            f"step {name!r}: {function}: not a function; pass the function and its arguments, "
            f"such as `ctx.step({name!r}, fetch, url)`"
        )


class StepNestedError(Permanent):
    """A step inside of a step that has parts of its own: a node of a graph."""

    def __init__(self, name: str, inside: str) -> None:
        super().__init__(
            f"step {name!r}: the caller is a node of the graph in step {inside!r}, and a node is a step already; "
            "call the function itself, or make it a node"
        )


class EntryPointError(Permanent, AttributeError):
    """A call of a framework that its adapter does not offer."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(f"durable(…).{name}: the adapter does not offer it; {remedy}")


class WaitRefusedError(Permanent):
    """A wait that cannot be: inside a step, or for a time that no clock can wait."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"wait: {problem}; {remedy}")


class ChildFailedError(Permanent):
    """A child of `ctx.map` or `ctx.gather` did not succeed. The child has used up its own attempts.

    Fails the parent for good, unless the handler catches the error. A replay of the parent runs again the children
    that did not succeed.
    """

    def __init__(self, job_id: str, state: str, error: str) -> None:
        self.job_id = job_id  # of the child
        self.state = state  # failed, cancelled or expired
        self.error = error  # the error or the reason of the child
        super().__init__(f"child {job_id} {state}: {error}")


class ChildrenChangedError(Permanent):
    """The children of a group are different from those of an earlier attempt, or too many."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name = name  # of the group
        super().__init__(f"group {name!r}: {problem}; {remedy}")


class Yielded(BaseException):
    """The job was asked to yield and has just saved its state: it is requeued in its place.

    Not an Exception, so that a handler's `except Exception` does not stop the unwinding.
    """

    def __init__(self, state: object) -> None:
        self.state = state
        super().__init__("the job yields to a critical job and continues later from its checkpoint")


def _seconds(wait: object) -> float | None:
    """Return a valid wait for the queue; None for a wait in the past. Raises ValueError for other values."""
    if wait is None:
        return None
    if not isinstance(wait, int | float) or not math.isfinite(wait):
        raise ValueError(f"after_seconds: {wait!r}: not a number of seconds; give one, such as 30, or leave it out")
    return max(0.0, wait)
