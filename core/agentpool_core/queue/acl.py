"""Permissions of each role in Redis, as ACL rules, derived from the scripts of the role.

A script's commands are checked against its user, so a role needs exactly the commands of its scripts and its own direct
commands. Keys are limited by pool or namespace; no role gets a dangerous or administrative command. Within a pool Redis
cannot distinguish a valid write from an invalid write: docs/security.md explains the consequences. An administrator
applies the rules by `ACL SETUSER` or an ACL file.
"""

from __future__ import annotations

import re
from enum import StrEnum

from agentpool_core.queue import scripts
from agentpool_core.queue.keys import NAMESPACES, pressure_of

_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '(CREATE|DELCONSUMER|SETID)')?")
_BY_NAME = re.compile(r"each_slice\(\w+, '([A-Z]+)'")  # commands that the scripts pass on by name
CONNECTION = ("auth", "hello", "ping", "select", "info", "client|setinfo", "client|setname", "client|id")
SINCE = {
    "client|setinfo": (7, 2),
    "waitaof": (7, 2),
}  # commands unknown to older servers, which refuse rules that name them
NEWEST = (99, 0)  # a version that knows all of them


class Role(StrEnum):
    """A user of Redis."""

    SUBMITTER = "submitter"  # submits, cancels, waits for results: SDK, command line, gateway
    WORKER = "worker"  # claims, settles, does the maintenance; its handlers submit children
    OPERATOR = "operator"  # publishes settings, reads backlogs, cordons, purges
    READER = "reader"  # looks: dashboards, exporters


_READS = ("snapshot", "survey", "list", "count", "schedules")
_SUBMITS = ("submit", "submit_plain", "confirm", "cancel", "signal", "watch")
_SCRIPTS: dict[Role, tuple[str, ...]] = {
    Role.READER: _READS,
    Role.SUBMITTER: (
        *_READS, *_SUBMITS, "replay", "discard", "apply", "schedule", "hook", "outbox", "delivered",
    ),
    Role.WORKER: (
        *_READS, *_SUBMITS, "register", "renew", "deregister", "reconcile", "claim", "claim_plain", "settle",
        "exchange", "exchange_plain", "report", "emit", "spend", "group", "maintain", "lag", "fire",
    ),
    Role.OPERATOR: (*_READS, "configure", "cordon", "override", "audit", "purge", "record"),
}  # fmt: skip
# Commands that the reading scripts may use from parts shared with writing scripts.
_READ_ONLY = frozenset(
    {
        "exists", "get", "hget", "hmget", "hgetall", "hkeys", "llen", "scard", "smembers", "sscan", "time", "xpending",
        "xrange", "xread", "xrevrange", "zcard", "zcount", "zrange", "zscore",
    }
)  # fmt: skip
_READING = ("exists", "hgetall", "hmget", "smembers", "xrange", "xrevrange", "xread")
_DIRECT: dict[Role, tuple[str, ...]] = {
    Role.READER: _READING,
    Role.SUBMITTER: (*_READING, "blpop", "lpop", "wait", "waitaof"),
    Role.WORKER: ("hgetall", "hmget", "blpop", "lrange", "ltrim"),
    Role.OPERATOR: (*_READING, "subscribe", "unsubscribe", "hset", "hdel", "sadd", "srem"),
}


def commands(role: Role) -> list[str]:
    """Return the commands of a role, direct or in its scripts, in lower case."""
    found = {*CONNECTION, *_DIRECT[role], "evalsha", "eval"}
    for script in (script for script in scripts.ALL if script.name in _SCRIPTS[role]):
        found |= {"|".join(filter(None, call)).lower() for call in _CALL.findall(script.source)}
        found |= {name.lower() for name in _BY_NAME.findall(script.source)}
    if role is Role.READER:
        found &= {*_READ_ONLY, *CONNECTION, "evalsha", "eval"}
    return sorted(found)


def rules(role: Role, *, pools: str = "*", version: tuple[int, int] = NEWEST) -> list[str]:
    """Return the role's rules for `ACL SETUSER`, without name and password.

    `pools` is a pattern of `namespace/name`: `research/*` for a namespace, `research/analysts` for a pool. Only a user
    of all namespaces may list the namespaces. `version` is the server's `redis_version`, as in (7, 0): rules for
    unknown commands are left out, because the server would refuse the user.
    """
    keys = [f"~ap:{{{pools}}}:*"]
    namespaces = pools.partition("/")[0]
    if namespaces == "*":
        keys.append(f"~{NAMESPACES}")
    channels = [] if role is Role.READER else [f"&{pressure_of(namespaces)}"]
    known = (command for command in commands(role) if SINCE.get(command, version) <= version)
    return ["resetkeys", "resetchannels", *keys, *channels, "-@all", *(f"+{command}" for command in known)]


def acl_file(*, pools: str = "*") -> str:
    """Return all roles as lines of an ACL file; the passwords are placeholders."""
    return "\n".join(f"user agentpool-{role} on >PASSWORD {' '.join(rules(role, pools=pools))}" for role in Role)
