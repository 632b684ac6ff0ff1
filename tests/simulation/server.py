"""A real server under the simulation: asked synchronously, on a clock that the simulation sets.

The server answers in no virtual time, so its own scheduling decides nothing. Time, stream ids and expiry follow the
virtual clock (`clock`). Only waiting is the simulation's: a BLPOP is sent to the server once a list of it has an
element, for the connections in the order in which they began to wait, with the commands behind it; the virtual clock
ends it. Each call asks, behind its own commands, whether such a list has an element now, so that waiting costs no
further round trip.

A crash forgets scripts and connections, and may restore the keys of an earlier moment. Scripts that a crash has
forgotten are answered NOSCRIPT, without sending them to the server again: that would cost more than the schedule.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiredis import Reader, pack_command

from agentpool_core.queue import scripts

if TYPE_CHECKING:
    from tests.fixtures.redis import RedisServer
    from tests.simulation.clock import ServerClock
    from tests.simulation.virtual_loop import VirtualLoop

ANSWER_SECONDS = 20  # real; a server that takes longer has failed
CHUNK_BYTES = 1 << 20
ANSWER_BYTES = len(b":0\r\n")  # to the question for an element of fewer than ten lists
NO_ELEMENT = b"_\r\n"  # the reply to a wait that has ended
_UNKNOWN = b"0" * 40
_MORE = object()
DUMP_ALL = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = { key, redis.call('PEXPIRETIME', key), redis.call('DUMP', key) }
end
return found
"""


class Wire:
    """A connection to the real server."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        # Python's own timeout would wait in a read that must not.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_SECONDS, 0))
        self._socket.connect(path)
        self._reader = Reader(notEnoughData=_MORE)
        self.owed = 0  # replies

    def send(self, data: bytes, replies: int) -> None:
        self.owed += replies
        self._socket.sendall(data)

    def read(self) -> tuple[bytes, list[Any]]:
        """Return all owed replies, as bytes and as values."""
        raw, values = b"", []
        while self.owed:
            data = self._socket.recv(CHUNK_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            raw += data
            values += self._take(data)
        return raw, values

    def _take(self, data: bytes) -> list[Any]:
        self._reader.feed(data)
        values = []
        while (value := self._reader.gets()) is not _MORE:
            values.append(value)
        self.owed -= len(values)
        return values

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the replies of the commands; an error reply is an exception in its place."""
        self.send(b"".join(map(pack_command, commands)), len(commands))
        return self.read()[1]

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Wait:
    """A connection that waits for an element of a list."""

    session: Session
    question: bytes  # whether there is an element
    commands: list[list[bytes]]  # the read, and those behind it
    timer: asyncio.TimerHandle | None


class Session:
    """The server's end of a connection."""

    def __init__(self, number: int, send: Callable[[bytes], None]) -> None:
        self.number, self.send = number, send
        self.requests = Reader()


class Server:
    """The server of a schedule."""

    def __init__(self, process: RedisServer, clock: ServerClock) -> None:
        self._clock = clock
        self._wire = Wire(str(process.socket_path))
        self._wire.ask(("HELLO", "3"), ("DEBUG", "SET-ACTIVE-EXPIRE", "0"))  # keys expire when they are looked at
        self._ours = {script.sha.encode() for script in scripts.ALL}
        replies = self._wire.ask(*(("SCRIPT", "LOAD", script.source) for script in scripts.ALL))
        if broken := [reply for reply in replies if isinstance(reply, Exception)]:
            raise broken[0]  # a mutant that does not compile is none
        self._loaded = set(self._ours)  # scripts of the real server
        self._names: dict[bytes, str] = {}
        self.begin(None)

    def begin(self, loop: VirtualLoop | None, *, fresh: bool = False) -> None:
        """Start a schedule with no keys; `fresh`: and no scripts, as after the server's first start."""
        self._loop = loop
        self._known = set() if fresh else set(self._ours)  # scripts, since the last crash
        self._waits: list[Wait] = []  # in the order of their begin
        self._sessions: list[Session] = []
        self._opened = 0
        self.offset = 0.0  # of the clock, in seconds
        self.down = False
        self.calls = 0
        self.heard: Callable[[Session, bytes], None] = lambda *_: None  # called with each write
        self._wire.ask(("FLUSHALL",))

    def finish(self) -> None:
        """End a schedule."""
        for session in list(self._sessions):
            self.close(session)

    def stop(self) -> None:
        """End the connection; no schedule follows."""
        self._wire.close()

    def open(self, send: Callable[[bytes], None]) -> Session:
        """Accept a connection whose client gets bytes through `send`."""
        self._opened += 1
        session = Session(self._opened, send)
        self._sessions.append(session)
        return session

    def close(self, session: Session) -> None:
        """End a connection."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        for wait in [wait for wait in self._waits if wait.session is session]:
            self._stop(wait)

    def execute(self, session: Session, data: bytes) -> None:
        """Run a write's commands, and pass all replies that they cause on."""
        session.requests.feed(data)
        commands = []
        while (command := session.requests.gets()) is not False:
            commands.append(command)
        self.calls += 1
        self.heard(session, data)
        self._set_clock()
        first = commands[0]
        if first[0] == b"XREAD" and b"BLOCK" in first:
            raise NotImplementedError("a wait for an entry of a stream is not simulated")
        if first[0] == b"BLPOP":
            self._wait(session, commands)
        else:
            self._run(session, commands)

    def _wait(self, session: Session, commands: list[list[bytes]]) -> None:
        _, *keys, block_s = commands[0]
        if self._wire.ask(("EXISTS", *keys)) != [0]:
            self._run(session, commands)
            return
        timer = None
        if float(block_s) > 0 and self._loop is not None:
            timer = self._loop.call_later(float(block_s), self._end_wait, session)
        self._waits.append(Wait(session, pack_command(("EXISTS", *keys)), commands, timer))

    def _end_wait(self, session: Session) -> None:
        (wait,) = [wait for wait in self._waits if wait.session is session]
        self._stop(wait)
        self._set_clock()
        self._run(session, wait.commands[1:], before=NO_ELEMENT)

    def _stop(self, wait: Wait) -> None:
        self._waits.remove(wait)
        if wait.timer is not None:
            wait.timer.cancel()

    def _run(self, session: Session, commands: list[list[bytes]], *, before: bytes = b"") -> None:
        """Run commands, send the replies behind those of `before`, and serve waits that can go on."""
        if not commands:
            session.send(before)
            return
        packed = [pack_command(tuple(self._rewritten(command))) for command in commands]
        packed += [wait.question for wait in self._waits]
        self._wire.send(b"".join(packed), len(packed))
        raw, values = self._wire.read()
        asked = len(self._waits)
        session.send(before + (raw[: -asked * ANSWER_BYTES] if asked else raw))
        for wait, found in zip(self._waits, values[-asked:], strict=False):
            if found:  # the answers to the others may be different after this one
                self._stop(wait)
                self._run(wait.session, wait.commands)
                return

    def _rewritten(self, command: list[bytes]) -> list[bytes]:
        """Return a command for the real server, which may know more scripts than the server of the schedule."""
        name = command[0]
        if name == b"EVALSHA":
            return command if command[1] in self._known else [name, _UNKNOWN, *command[2:]]
        if name == b"EVAL":
            sha = _digest(command[1])
            self._known.add(sha)
            if sha in self._loaded:
                return [b"EVALSHA", sha, *command[2:]]
            self._loaded.add(sha)
        return command

    def _set_clock(self) -> None:
        if self._loop is not None:
            self._clock.set(self._loop.now + self.offset)

    def keys(self) -> list[Any]:
        """Return all keys with their expiry and content, to restore them."""
        self._set_clock()
        (found,) = self._wire.ask(("EVAL", DUMP_ALL, "0"))
        return sorted(found)

    def crash(self, restored: list[Any] | None) -> None:
        """Forget scripts and, where keys of an earlier moment are given, everything since."""
        self._known.clear()
        if restored is None:
            return
        self._set_clock()
        commands: list[tuple[Any, ...]] = [("FLUSHALL",)]
        for key, expiry, content in restored:
            commands.append(("RESTORE", key, str(max(0, expiry)), content, "ABSTTL"))
        self._wire.ask(*commands)

    def describe(self, data: bytes) -> str:
        """Return the names of a write's commands, for people."""
        reader = Reader()
        reader.feed(data)
        names = []
        while (command := reader.gets()) is not False:
            names.append(self.name_of(command))
        return " + ".join(names)

    def name_of(self, command: list[bytes]) -> str:
        """Return a script's name with its arguments, or the command."""
        self._names = self._names or {script.sha.encode(): script.name for script in scripts.ALL}
        name = command[0].decode()
        if name in {"EVALSHA", "EVAL"}:
            sha = command[1] if name == "EVALSHA" else _digest(command[1])
            return " ".join([self._names.get(sha, "script"), *map(_short, command[4:])])
        return " ".join([name, *map(_short, command[1:])])


def _digest(script: bytes) -> bytes:
    """Return the digest by which a server knows a script."""
    return hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()


def _short(argument: bytes) -> str:
    text = json.dumps(argument.decode(errors="replace"), ensure_ascii=False)[1:-1]
    return text if len(text) <= 40 else f"{text[:38]}…"
