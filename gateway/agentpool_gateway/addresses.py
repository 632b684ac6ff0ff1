"""Addresses: the gateway's own names, the trusted proxies, and the external URL."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from agentpool_core.errors import SettingError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?P<port>:\d{1,5})?")
SCHEMES = frozenset({"http", "https"})
OWN_PATHS = frozenset({"v1", "console", "docs"})  # first parts of the gateway's own paths


class AllowedHosts:
    """The names by which a gateway without authentication may be reached: loopback, and those that are configured."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Keep the names. Raises SettingError for a name that no Host header can have."""
        self._names = {"localhost", *map(_parse_allowed_host, names)}

    def include(self, host: str) -> bool:
        """Return whether a Host header, or the part of an Origin after the scheme, is included."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = _normalize_host(found["name"])
        return name in self._names or _is_loopback(name)


def _parse_allowed_host(name: str) -> str:
    found = _HOST.fullmatch(f"[{name}]" if name.count(":") > 1 and "[" not in name else name)
    if found is None or found["port"]:
        raise SettingError(
            field="--allowed-host",
            value=name,
            problem="not a host name or address",
            remedy="write the name without scheme, port and path, such as box.example",
        )
    return _normalize_host(found["name"])


def _normalize_host(name: str) -> str:
    """Return a name in one spelling; an IPv6 address without brackets."""
    return name.strip("[]").rstrip(".").lower()


def _is_loopback(name: str) -> bool:
    address = address_of(name)
    return address is not None and address.is_loopback


def address_of(text: str) -> Address | None:
    """Return an address, IPv4 also from a dual-stack socket's IPv6 form; None for other texts."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _parts_of(url: str) -> SplitResult | None:
    """Return the parts of an address of pages; None for any other text, and for one with a user, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    usable = parts.scheme in SCHEMES and _HOST.fullmatch(parts.netloc) and not parts.query and not parts.fragment
    return parts if usable else None


def dashboard_of(url: str) -> str:
    """Return the address of a dashboard. Raises SettingError for a text that is none: pages link to it."""
    if _parts_of(url) is None:
        raise SettingError(
            field="--grafana-url",
            value=url,
            problem="not the address of a dashboard",
            remedy="write https://grafana.example.org/d/UID, without a query",
        )
    return url


class TrustedProxies:
    """The trusted proxies; without any, X-Forwarded headers are ignored."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [_network(text) for text in networks]

    def apply(self, scope: Scope) -> None:
        """Take client, scheme and host of a request from a trusted proxy's headers."""
        client = scope.get("client")
        if client is None or not self._is_trusted(client[0]):
            return
        headers = Headers(scope=scope)
        if address := self._client_of(_joined_lines(headers, "x-forwarded-for")):
            scope["client"] = (address, 0)
        scheme, host = _nearest_value(headers, "x-forwarded-proto"), _nearest_value(headers, "x-forwarded-host")
        if scheme in SCHEMES:
            scope["scheme"] = scheme
        if _HOST.fullmatch(host):
            MutableHeaders(scope=scope)["host"] = host

    def _client_of(self, forwarded: str) -> str | None:
        """Return the last untrusted address of X-Forwarded-For; earlier addresses may be made up."""
        for address in (part.strip() for part in reversed(forwarded.split(","))):
            if address_of(address) is None:
                return None
            if not self._is_trusted(address):
                return address
        return None

    def _is_trusted(self, address: str) -> bool:
        found = address_of(address)
        return found is not None and any(found in network for network in self._networks)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingError(
            field="--trusted-proxies",
            value=text,
            problem="not an address or a network",
            remedy="write 10.0.0.0/8 or 192.0.2.7",
        ) from error


def _nearest_value(headers: Headers, name: str) -> str:
    """Return the value written by the nearest proxy."""
    return _joined_lines(headers, name).rpartition(",")[2].strip()


def _joined_lines(headers: Headers, name: str) -> str:
    """Return all lines of a header as one list, as RFC 9110 has it: some proxies add a line of their own at the end."""
    return ",".join(headers.getlist(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalUrl:
    """The URL by which clients know the gateway, used in links, redirects and the agent card."""

    scheme: str
    host: str  # with the port, if any
    path: str  # empty, or /prefix without a trailing slash

    @classmethod
    def parse(cls, text: str) -> ExternalUrl:
        """Parse the URL of a setting. Raises SettingError."""
        parts = _parts_of(text)
        if parts is None or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path):
            raise SettingError(
                field="--external-url",
                value=text.rpartition("@")[2],  # a password may precede it
                problem="not a URL of the form https://HOST[:PORT][/PATH]",
                remedy="write the address that callers use, such as https://agents.example.org",
            )
        if parts.path.strip("/").partition("/")[0] in OWN_PATHS:
            raise SettingError(
                field="--external-url",
                value=text,
                problem="the path begins like a path of the gateway, so its removal by a proxy cannot be detected",
                remedy="choose a different path, such as https://example.org/agents",
            )
        return cls(scheme=parts.scheme, host=parts.netloc, path=parts.path.rstrip("/"))

    @property
    def name(self) -> str:
        """The host's name alone."""
        found = _HOST.fullmatch(self.host)
        return found["name"].strip("[]") if found else self.host

    def apply(self, scope: Scope) -> None:
        """Make a request look as if sent to this URL; a proxy may have removed the prefix from the path."""
        scope["scheme"] = self.scheme
        MutableHeaders(scope=scope)["host"] = self.host
        if self.path:
            scope["root_path"] = self.path
            if not f"{scope['path']}/".startswith(f"{self.path}/"):
                scope["path"] = self.path + scope["path"]


_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def origin_of(text: str) -> str:
    """Return the origin of web pages, in the form that browsers send. Raises SettingError."""
    if not _ORIGIN.fullmatch(text):
        raise SettingError(
            field="--cors-origin",
            value=text,
            problem="not an origin",
            remedy="name scheme and host, without a path, such as https://app.example.org",
        )
    return text.lower()
