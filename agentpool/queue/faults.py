"""What Redis says when it cannot serve, as errors of ours: which fault, and what to do about it.

Mechanism: the reply's first word decides, then the exception's class. Whatever is not known here is still a
QueueError, never a value. Who takes over next: whoever called; a worker backs off, a submitter is told.
"""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  # Redis's own
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004  # Redis's own
)

from agentpool.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueUnreachableError,
)

_REFUSALS = (
    "NOAUTH",
    "NOPERM",
    "ACL failure in script",  # from inside a script, since Redis 7.2
    "The user executing the script can't",  # the same before
)


def fault_of(error: BaseException, *, doing: str) -> QueueError:
    """The queue's name for what Redis raised while `doing` something."""
    words = str(error).partition(" : <")[0]  # Sentinel's words go on with the innards of its client
    text = f"{doing}: {words}"
    if _refused_user(error) or any(refusal in words for refusal in _REFUSALS):
        return QueueAccessError(text)
    if isinstance(error, ReadOnlyError) or "READONLY" in words:
        return QueueReadOnlyError(text)
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in words:
        return QueueMemoryError(text)
    if isinstance(error, ConnectionError | TimeoutError | BusyLoadingError | ClusterDownError | OSError):
        return QueueUnreachableError(f"Redis did not answer ({text}); check that it runs and the URL is right")
    if isinstance(error, RedisError):
        return QueueError(f"Redis refused ({text})")
    return QueueError(text)


def _refused_user(error: BaseException | None) -> bool:
    """Whether the user was refused; while connecting, the client tells it as a lost connection with that cause."""
    while error is not None:
        if isinstance(error, AuthenticationError | NoPermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False
