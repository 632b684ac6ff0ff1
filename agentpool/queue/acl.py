"""What each role may do in Redis, as ACL rules, read off the scripts that the role runs.

A script's commands are checked against the user who runs it, so a role needs exactly the commands of its scripts and
those that it sends itself. Keys are limited by pool or namespace; nobody gets a dangerous or administrative command.
Within a pool Redis cannot tell a good write from a bad one: see docs/security.md for what that means. Who takes over
next: an administrator, by `ACL SETUSER` or an ACL file.
"""

from __future__ import annotations

import re
from enum import StrEnum

from agentpool.queue import scripts
from agentpool.queue.keys import NAMESPACES, pressure_of

_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '(CREATE|DELCONSUMER|SETID)')?")
_BY_NAME = re.compile(r"each_slice\(\w+, '([A-Z]+)'")  # commands that the scripts pass on by name
CONNECTION = ("auth", "hello", "ping", "select", "info", "client|setinfo", "client|setname", "client|id")
SINCE = {"client|setinfo": (7, 2)}  # commands that older servers do not know, and whose rules they refuse
NEWEST = (99, 0)  # a version that knows all of them


class Role(StrEnum):
    """Who talks to Redis."""

    SUBMITTER = "submitter"  # submits, cancels, waits for results: SDK, command line, gateway
    WORKER = "worker"  # claims, settles, does the upkeep; its handlers submit children
    OPERATOR = "operator"  # publishes settings, reads backlogs, cordons, purges
    READER = "reader"  # looks: dashboards, exporters


_READS = ("snapshot", "list")
_SUBMITS = ("submit", "submit_plain", "cancel", "watch")
_SCRIPTS: dict[Role, tuple[str, ...]] = {
    Role.READER: _READS,
    Role.SUBMITTER: (*_READS, *_SUBMITS, "replay", "discard"),
    Role.WORKER: (
        *_READS, *_SUBMITS, "register", "renew", "deregister", "reconcile", "claim", "claim_plain", "settle",
        "exchange", "note", "maintain", "lag",
    ),
    Role.OPERATOR: (*_READS, "configure", "cordon", "audit", "purge"),
}  # fmt: skip
# What the reading scripts may use of the parts that they share with those that write.
_READ_ONLY = frozenset(
    {
        "exists", "hget", "hmget", "hgetall", "hkeys", "llen", "scard", "smembers", "srandmember", "time", "xpending",
        "xrange", "xread", "xrevrange", "zcard", "zrange",
    }
)  # fmt: skip
_READING = ("exists", "hgetall", "smembers", "xrange", "xrevrange", "xread")
_DIRECT: dict[Role, tuple[str, ...]] = {
    Role.READER: _READING,
    Role.SUBMITTER: (*_READING, "blpop", "lpop"),
    Role.WORKER: ("hgetall", "blpop", "lrange", "ltrim"),
    Role.OPERATOR: (*_READING, "subscribe", "unsubscribe", "hset", "hdel", "sadd", "srem"),
}


def commands(role: Role) -> list[str]:
    """The commands that a role sends, itself or in its scripts, in lower case."""
    found = {*CONNECTION, *_DIRECT[role], "evalsha", "eval"}
    for script in (script for script in scripts.ALL if script.name in _SCRIPTS[role]):
        found |= {"|".join(filter(None, call)).lower() for call in _CALL.findall(script.source)}
        found |= {name.lower() for name in _BY_NAME.findall(script.source)}
    if role is Role.READER:
        found &= {*_READ_ONLY, *CONNECTION, "evalsha", "eval"}
    return sorted(found)


def rules(role: Role, *, pools: str = "*", version: tuple[int, int] = NEWEST) -> list[str]:
    """The role's rules for `ACL SETUSER`, without name and password.

    `pools` is a pattern of `namespace/name`: `research/*` for a namespace, `research/analysts` for one pool. Only a
    user of all namespaces may list the namespaces. `version` is the server's `redis_version`, as in (7, 0): rules for
    commands that it does not know are left out, for it would refuse the user.
    """
    keys = [f"~ap:{{{pools}}}:*"]
    namespaces = pools.partition("/")[0]
    if namespaces == "*":
        keys.append(f"~{NAMESPACES}")
    channels = [] if role is Role.READER else [f"&{pressure_of(namespaces)}"]
    known = (command for command in commands(role) if SINCE.get(command, version) <= version)
    return ["resetkeys", "resetchannels", *keys, *channels, "-@all", *(f"+{command}" for command in known)]


def described(*, pools: str = "*") -> str:
    """All roles as lines of an ACL file; the passwords are yours to fill in."""
    return "\n".join(f"user agentpool-{role} on >PASSWORD {' '.join(rules(role, pools=pools))}" for role in Role)
