"""Sentinels, with or without a password, over TLS or not.

A Sentinel may have no password, the server's, or its own; and it may use TLS or not, independent of the server. Each
combination is a separate client, tried in turn; the combination that answers is asked first from then on. Without TLS a
password is sent only if the URL allows it, and the server named by a Sentinel must still prove itself by its
certificate. `pools` connects to the named primary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError

from agentpool_core.queue.connection.pools import QueuePool

if TYPE_CHECKING:
    from agentpool_core.queue.connection.url import RedisUrl

LARGEST_REPLY_BYTES = 2**20  # of a Sentinel's list of primaries; a URL may call any server a Sentinel
SOCKET_TIMEOUT_SECONDS = 5.0  # of a question to a Sentinel
FALLBACK_TIMEOUT_SECONDS = 1.5  # for TLS, with plain text as the next try: a Sentinel without TLS may just stay silent
_REFUSED = ("NOAUTH", "AuthenticationError", "WRONGPASS")


class Sentinels(Sentinel):
    """The Sentinels of a URL."""

    def __init__(self, url: RedisUrl, settings: Mapping[str, Any]) -> None:
        typed: Any = super()  # redis-py's ships without types
        typed.__init__([], sentinel_kwargs={})
        ways = list(_ways(url, settings))
        self.sentinels = [
            Redis.from_pool(QueuePool(host=host, port=port, largest_reply_bytes=LARGEST_REPLY_BYTES, **way))
            for way in ways
            for host, port in url.hosts
        ]

    async def discover_master(self, service_name: str) -> Any:
        """Return the primary's host and port. Raises AuthenticationError, or MasterNotFoundError, in plain words."""
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            words = str(error)
        if any(refusal in words for refusal in _REFUSED):
            raise AuthenticationError("the Sentinels refuse the password; give theirs as ?sentinel_password=")
        if " - " in words:
            raise MasterNotFoundError("no Sentinel answered that knows the service")
        raise MasterNotFoundError("the Sentinels know no such service, or its primary is down")


def _ways(url: RedisUrl, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of a connection to a Sentinel for each combination, the safest first."""
    options = url.sentinel
    keys = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "retry", "protocol")
    plain = {name: settings[name] for name in keys if name in settings}
    plain["socket_timeout"] = min(SOCKET_TIMEOUT_SECONDS, settings["socket_timeout"])
    tls = plain | {name: value for name, value in settings.items() if name.startswith("ssl_")}
    tls["connection_class"] = SSLConnection
    logins = list(_logins(url))
    if options.get("sentinel_tls", url.tls):
        if "sentinel_tls" not in options:
            tls["socket_connect_timeout"] = min(FALLBACK_TIMEOUT_SECONDS, tls["socket_connect_timeout"])
        yield from (tls | login for login in logins)
    if "sentinel_tls" not in options and url.tls:
        yield plain  # without a password, which could be intercepted
    elif not options.get("sentinel_tls", url.tls):
        yield from (plain | login for login in logins)


def _logins(url: RedisUrl) -> Iterator[dict[str, Any]]:
    options = url.sentinel
    if "sentinel_password" in options:
        user = {"username": options["sentinel_username"]} if "sentinel_username" in options else {}
        yield {"password": options["sentinel_password"], **user}
        return
    yield {}
    if "password" in url.settings:
        yield {"password": url.settings["password"]}
