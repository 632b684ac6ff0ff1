"""A connection's socket without a stream in between: commands go out in a single write, replies come back in a step.

redis-py creates the connection (TLS, login, database, name) and closes it; a wire handles the calls in between. Reading
through redis-py's stream and parser adds more to the dispatch latency than the network.
`agentpool_core.queue.connection.client` keeps wires at hand and gives them commands.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hiredis import PushNotification, Reader
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError  # noqa: A004  # Redis's own

from agentpool_core.queue.connection.redis_internals import error_maker_of, transport_of
from agentpool_core.queue.connection.reply_limits import MAX_REPLY_BYTES, Frames

IDLE_SECONDS = 0.5  # after which a connection may have been closed unheard; servers count in seconds
_MORE_TO_COME = object()


class Wire(asyncio.Protocol):
    """A connection with a single call at a time. `connection` is redis-py's, and connected.

    Connections of a `generation` are dropped together, see `pools`.
    """

    def __init__(self, connection: Any, *, generation: int = 0, most_bytes: int = MAX_REPLY_BYTES) -> None:
        self.connection = connection
        self.generation = generation
        self._transport = transport_of(connection)
        self._stream = self._transport.get_protocol()  # redis-py's own end, which must learn of a closed connection
        self._replies = Reader(
            protocolError=InvalidResponse,
            replyError=error_maker_of(connection),
            notEnoughData=_MORE_TO_COME,
            encoding="utf-8",
            errors="backslashreplace",  # a record that is not UTF-8 must not cost the connection
        )
        self._answer: asyncio.Future[list[Any]] | None = None
        self._found: list[Any] = []
        self._wanted = 0
        self._frames = Frames(most_bytes)
        self.asked_at = 0.0  # seconds, of the loop's clock
        self._transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Return whether the connection is open, without unrequested data."""
        return not self._transport.is_closing()

    async def is_alive(self) -> bool:
        """Return whether the wire is usable, after the loop has processed events of an idle connection.

        A busy or suspended event loop has not yet noticed that the server closed the connection.
        """
        if asyncio.get_running_loop().time() - self.asked_at > IDLE_SECONDS:
            await asyncio.sleep(0)  # the loop processes its sockets
            await asyncio.sleep(0)  # and calls back
        return self.usable

    async def ask(self, commands: bytes, *, replies: int, within_s: float | None) -> list[Any]:
        """Return that many replies; an error reply is an exception in its place.

        Raises redis-py's ConnectionError or TimeoutError. After these, and when cancelled, the wire is closed.
        """
        if self._transport.is_closing():  # the end was reported before this call, and is not reported again
            raise ConnectionError("the connection was lost")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        self._answer = answer
        self.asked_at = loop.time()
        self._found, self._wanted = [], replies
        self._frames.begin()
        timer = None if within_s is None else loop.call_later(within_s, self._late, within_s)
        try:
            self._transport.write(commands)
            return await answer
        except RuntimeError as error:  # uvloop's error for a connection lost before the write
            self._transport.abort()
            raise ConnectionError(f"the connection was lost: {error}") from error
        except BaseException:
            self._transport.abort()
            raise
        finally:
            self._answer = None
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read the replies of the data; the last reply of a call wakes the caller."""
        replies, found = self._replies, self._found
        try:
            self._frames.check(data)
            replies.feed(data)
            while (reply := replies.gets()) is not _MORE_TO_COME:
                if not isinstance(reply, PushNotification):
                    found.append(reply)
        except Exception as error:  # noqa: BLE001  # whatever the parser raises is of what the server has sent
            self._fail(error)
            self._transport.abort()
            self._replies = Reader()  # what it holds must not stay until the garbage is collected
            self._found = []
            return
        if self._answer is None or len(found) > self._wanted:
            self._transport.abort()  # unrequested data
        elif len(found) == self._wanted and not self._answer.done():
            self._answer.set_result(found)
            self._frames.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting call, and notify redis-py."""
        self._fail(exc)
        self._stream.connection_lost(exc)

    def _late(self, within_s: float) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError(f"no answer within {within_s:g} s"))

    def _fail(self, cause: BaseException | None) -> None:
        if self._answer is not None and not self._answer.done():
            error = ConnectionError(f"the connection was lost{f': {cause}' if cause else ''}")
            error.__cause__ = cause
            self._answer.set_exception(error)
