"""The network between the machines and the server: every delay and every fault comes from the seed.

A connection carries whole writes in order, each way. A write may come late, even after its sender has given up; it may
be lost with the connection, before the server has it or on the way back (a lost acknowledgement); or the connection
goes silent and no end is told (half-open). A partition keeps everything of a machine until it is over. Writes of
different connections overtake each other. Within a connection nothing is doubled, as in TCP: requests come twice
because their senders repeat them.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.simulation.virtual_loop import Machine, VirtualLoop, here

if TYPE_CHECKING:
    from tests.simulation.server import Server, Session
    from tests.simulation.story import Story

FASTEST_SECONDS, USUAL_SECONDS = 0.0002, 0.001  # from end to end
LATEST_SECONDS = 4.0  # of a write that comes late


class Fate(Enum):
    """Outcome of a write to the server."""

    LATE = "comes late"
    REQUEST_LOST = "is lost with its connection"
    REPLY_LOST = "is carried out, and the reply is lost with the connection"
    SILENT = "is lost, and the connection goes silent"


class Network:
    """All connections. `trouble` is the share of writes that meet a fault."""

    def __init__(self, loop: VirtualLoop, server: Server, story: Story, seed: str) -> None:
        self.loop, self.server, self.story = loop, server, story
        self.random = random.Random(seed)
        self.trouble = 0.0
        self.cut_off: set[str] = set()  # names of machines in a partition
        self.closed = False
        self.between = contextvars.Context()  # of what happens on no machine
        self.connections: list[Connection] = []

    def delay(self) -> float:
        return self.random.uniform(FASTEST_SECONDS, USUAL_SECONDS)

    async def connect(self, protocol_factory: Callable[[], asyncio.BaseProtocol]) -> Any:
        """Return transport and protocol of a new connection, as asyncio does."""
        machine = here()
        if machine is not None:
            await asyncio.sleep(self.delay())
            if machine.name in self.cut_off:
                await asyncio.sleep(3600)  # the caller has a limit of its own
        if self.closed or self.server.down:
            raise ConnectionRefusedError("connection refused")
        protocol: Any = protocol_factory()
        connection = Connection(self, machine, protocol)
        self.connections.append(connection)
        protocol.connection_made(connection)
        return connection, protocol

    def fate(self, connection: Connection) -> Fate | None:
        """Return the fault that a write meets; None for most."""
        if connection.machine is None or not self.trouble or self.random.random() >= self.trouble:
            return None
        return self.random.choice(tuple(Fate))

    def reset_all(self, why: str) -> None:
        """End all connections, as a server's end does."""
        for connection in [each for each in self.connections if each.machine is not None]:
            connection.reset(why)

    def heal(self, machine: Machine) -> None:
        """End a partition: what was kept goes on."""
        self.cut_off.discard(machine.name)
        for connection in [each for each in self.connections if each.machine is machine]:
            connection.go_on()

    def end(self, machine: Machine, *, silently: bool) -> None:
        """End the connections of a machine that has ended; `silently`: the server does not learn of it."""
        for connection in [each for each in self.connections if each.machine is machine]:
            connection.leave(silently=silently)

    def close(self) -> None:
        """Lose everything from now on."""
        self.closed = True
        self.reset_all("the schedule is over")


class Connection(asyncio.Transport):
    """The client's end of a connection."""

    def __init__(self, network: Network, machine: Machine | None, protocol: Any) -> None:
        super().__init__()
        self.network, self.machine = network, machine
        self._protocol = protocol
        self._session: Session | None = network.server.open(self._reply)
        self._closing = False
        self._silent = False
        self._kept: list[tuple[Callable[..., None], tuple[Any, ...]]] = []  # on its way during a partition
        self._there = self._back = 0.0  # when the last write arrives, each way
        self.name = f"{machine.name if machine else 'judge'}/{self._session.number}"

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        network, data = self.network, bytes(data)
        if self.machine is None:
            self._arrive(data)
            return
        fate = network.fate(self)
        wait = network.delay()
        if fate is not None:
            network.story.add(self.name, f"write {fate.value}: {network.server.describe(data)}")
        if fate is Fate.LATE:
            wait = network.random.uniform(0.05, LATEST_SECONDS)
        elif fate is Fate.SILENT:
            self._silent = True
        elif fate is Fate.REQUEST_LOST:
            self._later(wait, self.reset, "connection reset")
            return
        self._travel(wait, self._arrive, data, fate is Fate.REPLY_LOST)

    def _travel(self, wait: float, arrive: Callable[..., None], *args: Any) -> None:
        """Let something reach the server, behind all that was sent before."""
        self._there = max(self._there, self.network.loop.now + wait)
        self.network.loop.call_at(self._there, self._pass, arrive, args, context=self.network.between)

    def _pass(self, arrive: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self._silent or self.network.closed:
            return
        if self.machine is not None and self.machine.name in self.network.cut_off:
            self._kept.append((arrive, args))
        else:
            arrive(*args)

    def go_on(self) -> None:
        """Deliver what a partition has kept."""
        kept, self._kept = self._kept, []
        for arrive, args in kept:
            self._pass(arrive, args)

    def _arrive(self, data: bytes, reply_lost: bool = False) -> None:  # noqa: FBT001, FBT002
        if self._session is None:
            return
        if reply_lost:
            self._session.send = lambda _: None
        self.network.server.execute(self._session, data)
        if reply_lost:
            self.reset("connection reset")

    def _reply(self, data: bytes) -> None:
        """Take the server's bytes to the client."""
        if self.machine is None:
            self.network.loop.call_soon(self._receive, data)
            return
        self._back = max(self._back, self.network.loop.now + self.network.delay())
        self.network.loop.call_at(self._back, self._pass, self._hand_over, (data,), context=self.network.between)

    def _hand_over(self, data: bytes) -> None:
        assert self.machine is not None
        self.machine.run(self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def reset(self, why: str) -> None:
        """End both ends; the client learns a moment later, or never if the connection is silent."""
        self._drop_session()
        if not self._silent or self.network.closed:
            self._later(self.network.delay(), self._lose, ConnectionResetError(why))

    def leave(self, *, silently: bool) -> None:
        """End the client's end without a word to the client, which has ended."""
        if silently:
            self._silent = True
        else:
            self._travel(self.network.delay(), self._drop_session)

    def _later(self, wait: float, call: Callable[..., None], *args: Any) -> None:
        context = self.machine.context if self.machine is not None else None
        self.network.loop.call_later(wait, call, *args, context=context)

    def _drop_session(self) -> None:
        if self._session is not None:
            self.network.server.close(self._session)
            self._session = None
        if self in self.network.connections:
            self.network.connections.remove(self)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        """Close the client's end; the server learns of it behind all writes."""
        if self._closing:
            return
        self._closing = True
        self.network.loop.call_soon(self._protocol.connection_lost, None)
        if self.machine is None:
            self._drop_session()
        else:
            self._travel(self.network.delay(), self._drop_session)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Do nothing: no reader is that slow."""

    def resume_reading(self) -> None:
        """Do nothing."""
