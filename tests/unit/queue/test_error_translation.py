"""Errors of Redis and of redis-py, in the words and classes of each version, become errors of ours."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from redis import exceptions

from agentpool_core.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueReplyError,
    QueueUnreachableError,
    UnknownPoolError,
)
from agentpool_core.queue.connection.error_translation import Asking, Reading, Remedy, fault_of, remedy_of

LOST = (Remedy.RECONNECT, QueueUnreachableError)
AWAY = (Remedy.WAIT, QueueUnreachableError)
GARBLED = (Remedy.REPORT, QueueReplyError)


@pytest.mark.parametrize(
    "words",
    [
        "NOPERM this user has no permissions to run the 'hset' command script: 1f0c, on @user_script:1.",
        "The user executing the script can't run this command or subcommand script: 1f0c, on @user_script:1.",
        "The user executing the script can't access at least one of the keys mentioned in the command arguments",
        "ACL failure in script: User reader has no permissions to run the 'hset' command",
    ],
    ids=["6.2", "7.0 command", "7.0 key", "7.2"],
)
def test_a_script_that_an_acl_refuses_is_an_access_error(words):
    """Each version of the server has a different message."""
    assert isinstance(fault_of(exceptions.ResponseError(words), doing="submit"), QueueAccessError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ConnectionError("lost"), LOST),
        (ConnectionResetError(104, "reset"), LOST),
        (asyncio.IncompleteReadError(b"", 1), LOST),
        (RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"), LOST),
        (ssl.SSLError(1, "record layer failure"), LOST),
        (
            exceptions.ReadOnlyError("You can't write against a read only replica."),
            (Remedy.RECONNECT, QueueReadOnlyError),
        ),
        (exceptions.ResponseError("-READONLY You can't write"), (Remedy.RECONNECT, QueueReadOnlyError)),
        (exceptions.ResponseError("UNBLOCKED force unblock"), (Remedy.RECONNECT, QueueReadOnlyError)),
        (exceptions.TimeoutError("no answer"), AWAY),
        (exceptions.BusyLoadingError("LOADING"), AWAY),
        (exceptions.MaxConnectionsError("Too many connections"), AWAY),
        (exceptions.RedisClusterException("Redis Cluster cannot be connected"), AWAY),
        (exceptions.SlotNotCoveredError("slot 1"), AWAY),
        (exceptions.ClusterDownError("CLUSTERDOWN Hash slot not served"), AWAY),
        (exceptions.ClusterError("TTL exhausted."), AWAY),
        (exceptions.TryAgainError("TRYAGAIN"), AWAY),
        (exceptions.MovedError("1 127.0.0.1:7000"), AWAY),
        (exceptions.AskError("1 127.0.0.1:7000"), AWAY),
        (exceptions.ResponseError("Script attempted to access a non local key in a cluster node"), AWAY),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), AWAY),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), AWAY),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), AWAY),
        (exceptions.ConnectionError("max number of clients reached"), AWAY),
        (
            exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
            (Remedy.WAIT, QueueMemoryError),
        ),
        (exceptions.AuthenticationError("WRONGPASS"), (Remedy.REPORT, QueueAccessError)),
        (exceptions.NoPermissionError("no"), (Remedy.REPORT, QueueAccessError)),
        (exceptions.InvalidResponse('Protocol error, got "H" as reply type byte'), GARBLED),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), GARBLED),
        (TypeError("unhashable type: 'list'"), GARBLED),
        (ValueError("invalid literal for int()"), GARBLED),
        (AttributeError("'int' object has no attribute 'get'"), GARBLED),
        (IndexError("list index out of range"), GARBLED),
        (exceptions.ResponseError("ERR DB index is out of range"), (Remedy.REPORT, QueueError)),
        (exceptions.DataError("Invalid input of type"), (Remedy.REPORT, QueueError)),
    ],
    ids=lambda value: f"{type(value).__name__}: {value}"[:40] if isinstance(value, Exception) else "",
)
def test_each_failure_has_a_remedy_and_a_name(error, expected):
    """The error has a remedy for any class of redis-py, of a parser, of asyncio or of TLS."""
    remedy, kind = expected
    fault = fault_of(error, doing="submit")
    assert remedy_of(error) is remedy
    assert type(fault) is kind
    assert "submit" in str(fault)
    if isinstance(fault, QueueUnreachableError):
        assert fault.reconnect is (remedy is Remedy.RECONNECT)


def test_the_cause_of_a_lost_connection_is_found():
    """While connecting, the client reports a wrong password, or garbage, as a lost connection."""
    for cause, kind in ((exceptions.AuthenticationError("no"), QueueAccessError), (KeyError("x"), QueueReplyError)):
        lost = exceptions.ConnectionError("lost")
        lost.__cause__ = cause
        assert type(fault_of(lost, doing="connect")) is kind


def test_an_error_that_was_handled_before_is_no_cause():
    """redis-py handles an IndexError when its pool is full; that error does not concern the reply."""
    full = exceptions.MaxConnectionsError("Too many connections")
    full.__context__ = IndexError("pop from empty list")
    assert type(fault_of(full, doing="submit")) is QueueUnreachableError


def test_our_own_errors_and_a_cancellation_pass():
    """Errors of ours keep their message, and a cancelled call was not refused."""
    for guard in (Asking("submit"), Reading("submit")):
        for error in (UnknownPoolError("ns/p"), asyncio.CancelledError(), KeyboardInterrupt()):
            with pytest.raises(type(error)), guard:
                raise error
