"""A Redis URL in the form for messages: without a password or any part of it.

Unquoted passwords contain `@`, `/`, `?` and `#`, which no URL parser reads as intended; so the visible part is cut out
by hand, and nothing is shown if the secret part is unclear. Used by errors and logs.
"""

from __future__ import annotations

import re

_KNOWN = re.compile(r"(?:(?:redis|valkey)s?(?:\+\w+)?|unix)", re.IGNORECASE)
DEFAULT_PORT = 6379
SENTINEL_PORT = 26379
_HIDDEN = "***"


def mask_url(url: str) -> str:
    """Return the URL without its password and its options, which may contain a password too."""
    scheme, slashes, rest = url.partition("://")
    if not slashes or not _KNOWN.fullmatch(scheme):  # possibly a bare password
        return _HIDDEN
    address, _, options = rest.partition("?")
    if "@" in options:  # of the password or of an option: ambiguous
        return f"{scheme}://{_HIDDEN}"
    user, at, place = address.rpartition("@")
    name, colon, _ = user.partition(":")
    login = f"{name}:{_HIDDEN}" if colon else _HIDDEN
    return f"{scheme}://{login + at if at else ''}{place}{'?' + _HIDDEN if options else ''}"


def place_of(url: str) -> str:
    """Host and port, or the path of a socket; several, with commas between, where the URL has them."""
    scheme, _, rest = mask_url(url).partition("://")
    place = rest.rpartition("@")[2].partition("?")[0]
    if scheme == "unix" or place == _HIDDEN:
        return place
    port = SENTINEL_PORT if scheme.endswith("+sentinel") else DEFAULT_PORT
    return ",".join(_with_port(host, port) for host in re.split("[/#]", place)[0].split(","))


def _with_port(host: str, port: int) -> str:
    named = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(\d+))?", host)
    if named is None:  # host and port cannot be identified
        return host
    return f"{named[1] or 'localhost'}:{named[2] or port}"
