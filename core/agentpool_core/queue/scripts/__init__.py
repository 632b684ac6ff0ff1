"""The queue's transitions: a Lua file each, the only writers of a pool's keys.

A file names its parts (`--- include: part`, from `lib/`), and a part those that it needs; `load` assembles them, once
per process. A script begins with the part `pool`, unless it is a short script that does without; each other part is a
table of that name, whose functions the server creates at their first use (`lib/on_demand.lua`). `Script.run` calls by
digest and sends the source only if the server does not know it (first use, restart, failover, eviction).
`producer`, `consumer` and `inspector` pass the arguments and read the replies. A new script needs its name in `ALL`
and its roles in `agentpool_core.queue.acl`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.exceptions import NoScriptError

from agentpool_core.errors import QueueReplyError, QueueUnreachableError
from agentpool_core.queue.connection.client import call
from agentpool_core.queue.connection.error_translation import Asking

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient

Arg: TypeAlias = str | int | float | bytes

_INCLUDE = re.compile(r"^--- include: (\w+)\n+", re.MULTILINE)
_BEGINNING = "pool"
_ON_DEMAND = "on_demand"


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A transition."""

    name: str  # the file's, without .lua
    source: str  # with the parts
    sha: str  # digest for EVALSHA
    repeatable: bool = True  # idempotent, so repeated after a connection failure
    returns: type = list  # of the reply

    async def run(self, redis: RedisClient, conf: str, args: Sequence[Arg] = ()) -> Any:
        """Return the script's reply for the pool with this `conf` key. Raises QueueError.

        Raises QueueReplyError for a reply of a different type.
        """
        try:
            reply = await self._sent(redis, conf, args)
        except QueueUnreachableError as error:
            if not (self.repeatable and error.reconnect):
                raise
            reply = await self._sent(redis, conf, args)
        if type(reply) is not self.returns:
            raise QueueReplyError(doing=self.name, problem=f"a {type(reply).__name__}")
        return reply

    async def _sent(self, redis: RedisClient, conf: str, args: Sequence[Arg]) -> Any:
        with Asking(self.name):
            try:
                return await call(redis, "EVALSHA", self.sha, 1, conf, *args)
            except NoScriptError:
                return await call(redis, "EVAL", self.source, 1, conf, *args)


@cache
def _read(path: str) -> str:
    return resources.files(__package__ or __name__).joinpath(path).read_text(encoding="utf-8")


def _parts_of(text: str, found: dict[str, str]) -> dict[str, str]:
    """Add the parts that a text includes, directly or not, to `found`: text by name."""
    for name in _INCLUDE.findall(text):
        if name not in found:
            found[name] = _read(f"lib/{name}.lua")
            _parts_of(found[name], found)
    return found


def _assemble(text: str) -> str:
    """Return a script's text with its parts, which are declared before any of them is defined."""
    parts = _parts_of(text, {})
    beginning = parts.pop(_BEGINNING, "") + (_read(f"lib/{_ON_DEMAND}.lua") if parts else "")
    declared = "".join(f"local {name} = setmetatable({{}}, on_demand)\n" for name in parts)
    defined = "".join(
        f"definitions[{name}] = function()\n{_INCLUDE.sub('', part)}end -- {name}\n" for name, part in parts.items()
    )
    return beginning + declared + defined + _INCLUDE.sub("", text)


@cache
def load(name: str, *, repeatable: bool = True, returns: type = list) -> Script:
    """Return the script of that file, with the parts."""
    source = _assemble(_read(f"{name}.lua"))
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name=name, source=source, sha=sha, repeatable=repeatable, returns=returns)


SUBMIT = load("submit", repeatable=False)  # repeated by the producer, which reports an unknown outcome
SUBMIT_PLAIN = load("submit_plain", repeatable=False, returns=int)
CONFIRM = load("confirm", returns=int)
CANCEL = load("cancel")
SIGNAL = load("signal")
GROUP = load("group")
WATCH = load("watch")
HOOK = load("hook")
OUTBOX = load("outbox")
DELIVERED = load("delivered")
REGISTER = load("register")
RENEW = load("renew")
DEREGISTER = load("deregister")
RECONCILE = load("reconcile")
AUDIT = load("audit")
CLAIM = load("claim", repeatable=False)  # a lost answer may have brought jobs: see the consumer
CLAIM_PLAIN = load("claim_plain", repeatable=False)
SETTLE = load("settle")
EXCHANGE = load("exchange", repeatable=False)
EXCHANGE_PLAIN = load("exchange_plain", repeatable=False)
REPORT = load("report")
EMIT = load("emit")
SPEND = load("spend")
MAINTAIN = load("maintain")
LAG = load("lag")
CONFIGURE = load("configure")
CORDON = load("cordon")
OVERRIDE = load("override")
SNAPSHOT = load("snapshot")
SURVEY = load("survey")
RECORD = load("record")
LIST = load("list")
COUNT = load("count")
APPLY = load("apply")
SCHEDULES = load("schedules")
SCHEDULE = load("schedule")
FIRE = load("fire")
REPLAY = load("replay", repeatable=False)  # not idempotent: the job is no longer dead
DISCARD = load("discard", repeatable=False)  # not idempotent: takes the next ones
PURGE = load("purge")
ALL = (
    SUBMIT, SUBMIT_PLAIN, CONFIRM, CANCEL, SIGNAL, GROUP, WATCH, HOOK, OUTBOX, DELIVERED, REGISTER,
    RENEW, DEREGISTER, RECONCILE, AUDIT, CLAIM, CLAIM_PLAIN, SETTLE, EXCHANGE, EXCHANGE_PLAIN, REPORT, EMIT, SPEND,
    MAINTAIN, LAG, CONFIGURE, CORDON, OVERRIDE, SNAPSHOT, SURVEY, RECORD, LIST, COUNT, APPLY, SCHEDULES, SCHEDULE, FIRE,
    REPLAY, DISCARD, PURGE,
)  # fmt: skip
