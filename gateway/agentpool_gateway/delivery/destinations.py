"""Addresses to which the gateway may send: an allow-list of hosts; private addresses only in allowed networks.

A URL is checked when it is stored and again before each message; `resolving` checks the address of a host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from agentpool_core.errors import InvalidJobError, SettingError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LONGEST_URL = 2_000  # characters
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PUBLIC_IPV6 = (ipaddress.ip_network("2000::/3"), _NAT64)  # others are not assigned, or lead to IPv4 in local ways
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.:-]*[a-z0-9])?")
_PRINTABLE = re.compile(r"[!-~]+")


class ForbiddenAddressError(OSError):
    """A host has no address to which the gateway may send."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Destinations:
    """The allowed hosts, and the private networks in which they may be. No hosts: nothing is delivered."""

    hosts: tuple[str, ...] = ()  # exact, or `*.example.org` for all names below
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, hosts: Iterable[str], networks: Iterable[str]) -> Destinations:
        """Return the destinations of the gateway's options. Raises SettingError."""
        return cls(hosts=tuple(map(_host, hosts)), networks=tuple(map(_network, networks)))

    def check(self, url: str) -> None:
        """Raise InvalidJobError for a URL to which the gateway does not send."""
        if not self.hosts:
            raise _refused(url, "the gateway delivers no webhooks", "ask its owner for --webhook-host")
        host, scheme = _host_and_scheme(url)
        if scheme != "https" and not (scheme == "http" and self.networks):
            raise _refused(url, "not an https URL", "use https")
        if not any(_matches(host, allowed) for allowed in self.hosts):
            remedy = "use an allowed host, or ask the gateway's owner for a further --webhook-host"
            raise _refused(url, f"the host {host[:100]!r} is not allowed", remedy)

    def allows(self, address: str, *, secure: bool) -> bool:
        """Return whether a message may go to an IP address. Without TLS only an allowed network will do."""
        found = _embedded(ipaddress.ip_address(address))
        if all(any(each in network for network in self.networks) for each in found):
            return True
        return secure and all(map(_is_public, found))


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, which no resolver sees."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_of(url: str) -> str:
    """Return the host of a checked URL."""
    return _host_and_scheme(url)[0]


def _host_and_scheme(url: Any) -> tuple[str, str]:
    if not isinstance(url, str) or not _PRINTABLE.fullmatch(url) or len(url) > LONGEST_URL:
        raise _refused(url, "not a URL", f"send an https URL of at most {LONGEST_URL} ASCII characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(url, "not a URL", "send an https URL") from error
    if not host or "@" in parts.netloc or "\\" in url or parts.fragment:
        raise _refused(url, "not a URL that can be used", "send an https URL without user, password and fragment")
    return host.lower().rstrip("."), parts.scheme.lower()


def _matches(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:]) and not is_address(host)
    return host == allowed


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[Any]:
    """Return the addresses that a packet may reach: an IPv6 address may stand for an IPv4 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    inner: list[Any] = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *(each for each in inner if each is not None)]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    return address.version == 4 or any(address in network for network in _PUBLIC_IPV6)  # noqa: PLR2004  # IPv4


def _host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise SettingError(
            field="--webhook-host", value=text, problem="not a host", remedy="use hooks.example.org or *.example.org"
        )
    return text.lower()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingError(
            field="--webhook-network", value=text, problem="not a network", remedy="use a CIDR such as 10.0.0.0/8"
        ) from error


def _refused(url: Any, problem: str, remedy: str) -> InvalidJobError:
    return InvalidJobError(field="url", value=url, problem=problem, remedy=remedy)
