"""Strict parser of Redis URLs: every part is checked, and options come from an allow-list.

A lenient parser turns an unquoted password into a host, a port or a path, and connects to an unintended server. So a
URL is split by hand, ambiguous URLs are refused, and no message shows a part of the text except the name of an option.
`client` makes the client.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from agentpool_core.errors import SettingError
from agentpool_core.queue.connection.redacted_url import DEFAULT_PORT, SENTINEL_PORT
from agentpool_core.queue.connection.url_options import OPTIONS, SENTINEL_OPTIONS, SET_BY_US, TLS_OPTIONS, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

WRITE = "write redis://[USER:PASSWORD@]HOST:6379/0, and %-encode what is special in a user or password"
_ENCODE = "a user or password holds one of @ / ? # [ ] or a blank, which must be %-encoded there"
_VALKEY = re.compile(r"^valkey(?=s?(\+\w+)?$)")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")
_HOST = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d{1,5}))?")
_OPTION_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # visible form of an unknown option
_LAST_PORT = 65_535
MAX_HOSTS = 32  # each Sentinel gets clients of its own, which take memory


class Topology(Enum):
    """How the server is found."""

    SINGLE = ""  # a single address
    SOCKET = "socket"  # a unix socket
    SENTINEL = "sentinel"  # Sentinels name the primary
    CLUSTER = "cluster"  # the key's slot names the node


SCHEMES: Mapping[str, tuple[Topology, bool]] = {  # with or without TLS
    "redis": (Topology.SINGLE, False),
    "rediss": (Topology.SINGLE, True),
    "unix": (Topology.SOCKET, False),
    "redis+socket": (Topology.SOCKET, False),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
}


_LACKS: Mapping[Topology, tuple[str, ...]] = {  # options that redis-py does not know there
    Topology.SOCKET: ("socket_keepalive",),
    Topology.CLUSTER: ("ssl_ca_path", "ssl_password"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisUrl:
    """Content of a URL."""

    topology: Topology
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()  # several for Sentinel and Cluster; none for a socket
    path: str = ""  # of a socket
    service: str = ""  # name of the primary, as known to the Sentinels
    settings: Mapping[str, Any] = field(default_factory=dict)  # of a connection, as redis-py names them
    sentinel: Mapping[str, Any] = field(default_factory=dict)  # sentinel_username, sentinel_password, sentinel_tls

    @classmethod
    def parse(cls, text: str) -> RedisUrl:
        """Parse a URL, ignoring surrounding white space. Raises SettingError, which shows no part of the URL."""
        text = text.strip()
        _check_text(text)
        scheme, rest = _scheme(text)
        topology, tls = SCHEMES[scheme]
        address, _, query = rest.partition("?")
        if "#" in rest or "@" in query:
            raise _refused(_ENCODE)
        login, _, place = address.rpartition("@")
        settings = _login(login)
        options = _options(query, topology=topology, tls=tls)
        for twice in settings.keys() & options.keys():
            raise _wrong_option(twice, "given before the host too", "give it once")
        settings |= options
        sentinel = {name: settings.pop(name) for name in SENTINEL_OPTIONS if name in settings}
        if topology is Topology.SOCKET:
            path = _decoded(place)
            if not path.startswith("/"):
                raise _refused("the path of its socket is not absolute", "write unix:///run/redis.sock")
            return cls(topology=topology, tls=tls, path=path, settings=settings)
        where, _, path = place.partition("/")
        default_port = SENTINEL_PORT if topology is Topology.SENTINEL else DEFAULT_PORT
        if where.count(",") >= MAX_HOSTS:
            raise _refused(
                f"it names more than {MAX_HOSTS} hosts", "name a few Sentinels or nodes; they know the others"
            )
        hosts = tuple(_host(host, default_port) for host in where.split(","))
        if len(hosts) > 1 and topology is Topology.SINGLE:
            raise _refused("it names several hosts", "use redis+sentinel:// or redis+cluster:// for several")
        service, settings = _path(path, topology, settings)
        return cls(topology=topology, tls=tls, hosts=hosts, service=service, settings=settings, sentinel=sentinel)


def _refused(problem: str, remedy: str = WRITE) -> SettingError:
    return SettingError(field="Redis URL", value=None, problem=problem, remedy=remedy)


def _check_text(text: str) -> None:
    if not text:
        raise _refused("it is empty")
    if text[0] in "\"'`" or text[-1] in "\"'`":
        raise _refused("it begins or ends with a quotation mark", "remove the quotes: Secrets and env files keep them")
    if _UNPRINTABLE.search(text):
        raise _refused("it has white space or control characters")


def _scheme(text: str) -> tuple[str, str]:
    """Return the canonical scheme, and the rest."""
    scheme, separator, rest = text.partition("://")
    known = _VALKEY.sub("redis", scheme.lower())
    if not separator:
        raise _refused("it has no scheme, such as redis://")
    if known not in SCHEMES:
        raise _refused(f"its scheme is none of {', '.join(SCHEMES)}")
    return known, rest


def _login(text: str) -> dict[str, Any]:
    """Return user and password, if the URL has them."""
    if re.search(r"[/\[\]]", text):
        raise _refused(_ENCODE)
    user, _, password = text.partition(":")
    found = {"username": _decoded(user), "password": _decoded(password)}
    return {name: value for name, value in found.items() if value}


def _decoded(text: str) -> str:
    if _STRAY_PERCENT.search(text):
        raise _refused("a % is not followed by two hexadecimal digits", "write %25 for a %")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refused("its %-encoded characters are not UTF-8") from None  # the cause would show them


def _host(text: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        named = "it names no host" if not text or text.startswith(":") else "a host or port cannot be read"
        raise _refused(named, f"{WRITE}; an IPv6 address stands in brackets, [::1]:6379")
    port = int(found["port"] or default_port)
    if not 0 < port <= _LAST_PORT:
        raise _refused(f"its port is not between 1 and {_LAST_PORT}")
    return found["name"] or _address(found["six"]), port


def _address(text: str) -> str:
    address = _decoded(text)
    try:
        ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        raise _refused("the text in brackets is no IPv6 address") from None
    return address


def _path(path: str, topology: Topology, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the service of the Sentinels, and the settings with the database."""
    parts = path.rstrip("/").split("/") if path.rstrip("/") else []
    service = ""
    if topology is Topology.SENTINEL:
        if not parts:
            raise _refused("it names no service", "write redis+sentinel://HOST:26379/SERVICE")
        service = _decoded(parts.pop(0))
    if len(parts) > 1 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):  # noqa: PLR2004
        raise _refused("its database is not a number")
    database = int(parts[0]) if parts else None
    if database is not None and settings.setdefault("db", database) != database:
        raise _refused("its path and its option db name two databases", "name the database once")
    if topology is Topology.CLUSTER and settings.pop("db", 0):
        raise _refused("a cluster has no databases but 0", "leave the database out")
    return service, settings


def _options(query: str, *, topology: Topology, tls: bool) -> dict[str, Any]:
    """Return the options' values, by name. Raises SettingError with the name of an unusable option."""
    found: dict[str, Any] = {}
    for item in query.split("&") if query else ():
        name, _, text = item.partition("=")
        problem, remedy = _misuse(name, topology=topology, tls=tls)
        if name in found:
            problem, remedy = "given twice", "give it once"
        if problem:
            raise _wrong_option(name, problem, remedy)
        try:
            found[name] = OPTIONS[name](_decoded(text))
        except OptionError as error:
            raise _wrong_option(name, str(error), "correct the value or leave the option out") from None
    return found


def _misuse(name: str, *, topology: Topology, tls: bool) -> tuple[str, str]:
    """Return why an option cannot be used in this URL, and the remedy; empty if usable."""
    if name in SET_BY_US:
        return "set by AgentPool itself", "remove it"
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        return "unknown", f"{meant}known options: {', '.join(sorted(OPTIONS))}"
    without = _LACKS.get(topology, ())
    misplaced = {
        ("for TLS only", "use rediss:// for TLS, or remove it"): name in TLS_OPTIONS and not tls,
        ("for Sentinels only", "use redis+sentinel://, or remove it"): (
            name in SENTINEL_OPTIONS and topology is not Topology.SENTINEL
        ),
        (f"not supported for {topology.name.lower()} URLs", "remove it"): name in without,
    }
    return next((why for why, holds in misplaced.items() if holds), ("", ""))


def _wrong_option(name: str, problem: str, remedy: str) -> SettingError:
    shown = f" {name}" if name in OPTIONS or _OPTION_NAME.fullmatch(name) else ""  # else perhaps of a password
    return _refused(f"option{shown}: {problem}", remedy)
