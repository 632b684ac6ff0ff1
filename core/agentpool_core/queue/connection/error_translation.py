"""Translate every failure of Redis and of redis-py into our errors, with the remedy.

redis-py raises more than RedisError: errors of clusters and parsers have different classes, and a lost connection may
be a RuntimeError of the event loop. So every error of a call is classified here: retry on a new connection, wait, or
report to the user. Mechanism: the reply's first word decides, then the exception's class. An unknown error is still a
QueueError, never a value. A worker backs off, a submitter gets the error.
"""

from __future__ import annotations

from enum import Enum
from types import TracebackType

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,  # noqa: A004  # Redis's own
    InvalidResponse,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  # Redis's own
    TryAgainError,
)

from agentpool_core.errors import (
    AgentPoolError,
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueReplyError,
    QueueUnreachableError,
)


class Remedy(Enum):
    """Remedy of a failure."""

    RECONNECT = "try again on a new connection"
    WAIT = "wait, then try again"
    REPORT = "report to the user"


_REFUSALS = (
    "NOAUTH",
    "NOPERM",
    "ACL failure in script",  # from inside a script, since Redis 7.2
    "The user executing the script can't",  # the same before
)
_DEMOTED = ("READONLY", "UNBLOCKED")  # the server has become a replica; the second is sent to blocked clients
_FULL = "OOM command not allowed"
_PASSING = (  # states of a server that end by themselves
    "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY ", "max number of clients",
)  # fmt: skip
_PASSING_OF_CLUSTER = (  # the last three: from inside a script, while its slot moves
    "CLUSTERDOWN", "TRYAGAIN", "MOVED ", "ASK ", "non local key in a cluster node", "while the cluster is down",
)  # fmt: skip
_PASSING_KINDS = (
    TimeoutError, BusyLoadingError, MaxConnectionsError, ClusterError, RedisClusterException,
)  # fmt: skip
_LOST = (ConnectionError, OSError, EOFError, RuntimeError)  # the last: of a transport or a loop that is closed


def remedy_of(error: BaseException) -> Remedy:
    """Return the remedy of a failure of Redis or of its client."""
    words = _words(error)
    if _refused_user(error) or any(refusal in words for refusal in _REFUSALS) or _garbled(error):
        return Remedy.REPORT
    if is_demotion(error):
        return Remedy.RECONNECT
    if isinstance(error, _PASSING_KINDS) or _is_full(error) or is_passing_of_cluster(error):
        return Remedy.WAIT
    if any(state in words for state in _PASSING):
        return Remedy.WAIT
    return Remedy.RECONNECT if isinstance(error, _LOST) else Remedy.REPORT


def fault_of(error: BaseException, *, doing: str) -> QueueError:
    """Return our error for an exception raised while `doing` something."""
    if isinstance(error, QueueError):
        return error
    text = f"{doing}: {_words(error)}"
    remedy = remedy_of(error)
    if remedy is Remedy.REPORT:
        return _refusal_of(error, text, doing)
    if is_demotion(error):
        return QueueReadOnlyError(text)
    if _is_full(error):
        return QueueMemoryError(text)
    fault = QueueUnreachableError(
        f"Redis did not answer ({text})", remedy="check that Redis runs and that the URL is correct"
    )
    fault.reconnect = remedy is Remedy.RECONNECT
    return fault


def is_passing_of_cluster(error: BaseException | None) -> bool:
    """Return whether a cluster is moving a slot or electing a primary: this takes seconds, and nothing was executed."""
    words = "" if error is None else str(error)
    return isinstance(error, ClusterError | AskError | TryAgainError) or any(s in words for s in _PASSING_OF_CLUSTER)


def is_demotion(error: object) -> bool:
    """Return whether a reply shows that its server is a replica, possibly after a recent demotion."""
    if isinstance(error, ReadOnlyError):
        return True
    return isinstance(error, RedisError) and any(word in str(error) for word in _DEMOTED)


class _Boundary:
    """Block in which every exception that is not ours is raised as an error of ours."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing is prepared: a call is on the hot path."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Raise our error in place of the original."""
        if isinstance(error, Exception) and not isinstance(error, AgentPoolError):
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> QueueError:
        raise NotImplementedError


class Asking(_Boundary):
    """`with Asking("submit"):` turns every error of Redis or its client inside the block into a QueueError.

    Only calls to the client belong inside, because a bug of ours would look like an error of the server.
    """

    __slots__ = ()

    def _ours(self, error: Exception) -> QueueError:
        return fault_of(error, doing=self._doing)


class Reading(_Boundary):
    """`with Reading("snapshot"):` turns a reply of an unexpected shape into a QueueReplyError."""

    __slots__ = ()

    def _ours(self, error: Exception) -> QueueError:
        return QueueReplyError(doing=self._doing, problem=type(error).__name__)


def _refusal_of(error: BaseException, text: str, doing: str) -> QueueError:
    if _refused_user(error) or any(refusal in text for refusal in _REFUSALS):
        return QueueAccessError(text)
    if _garbled(error):
        return QueueReplyError(doing=doing, problem=_words(error))
    if isinstance(error, ResponseError):
        return QueueError(f"Redis refused ({text})")
    return QueueError(text)


def _words(error: BaseException) -> str:
    words = str(error).partition(" : <")[0]  # Sentinel's message ends with internals of its client
    return words or type(error).__name__


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OutOfMemoryError) or _FULL in str(error)


def _garbled(error: BaseException) -> bool:
    """Return whether the reply is invalid: the client failed in a parser."""
    parsing = (InvalidResponse, UnicodeDecodeError, LookupError, TypeError, AttributeError, ArithmeticError)
    return any(
        isinstance(cause, parsing) or type(cause) is ValueError or isinstance(cause, RecursionError | MemoryError)
        for cause in _chain(error)
    )


def _refused_user(error: BaseException) -> bool:
    """Return whether the user was refused; during a login the client reports it as the cause of a lost connection."""
    return any(
        isinstance(cause, AuthenticationError | AuthorizationError | NoPermissionError) for cause in _chain(error)
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return the error and its causes. Errors that were merely handled before are not included."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found
