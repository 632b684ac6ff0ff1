"""One message by HTTP: POST without redirects, cookies and proxies, with limits on time and on the answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import aiohttp

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.delivery.destinations import Destinations, ForbiddenAddressError, host_of, is_address
from agentpool_gateway.delivery.resolving import THREADS, CheckedResolver

CONNECTIONS_A_HOST = 8  # of a pool
LONGEST_RETRY_AFTER_SECONDS = 3_600
GONE = 410  # the receiver takes no further messages
TOO_MANY, UNAVAILABLE = 429, 503


class Sent(NamedTuple):
    """The answer to a message."""

    ok: bool
    answer: str  # status, or the error of the connection
    final: bool = False  # no retry can succeed
    retry_after_s: int = 0  # as the receiver asks


class Sender:
    """Sends messages; owns the connections, which pools do not share: a slow receiver of a pool delays no other pool.

    `tls`: of the receivers; None: the system's authorities.
    """

    def __init__(self, destinations: Destinations, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._destinations = destinations
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls = tls
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook-lookup")
        self._sessions: dict[tuple[PoolRef, bool], aiohttp.ClientSession] = {}  # by pool, and: with TLS

    async def send(self, pool: PoolRef, url: str, body: bytes, headers: Mapping[str, str]) -> Sent:
        """Send a message. Never raises for the receiver's faults."""
        secure = url.lower().startswith("https:")
        try:
            self._destinations.check(url)
            host = host_of(url)
            if is_address(host) and not self._destinations.allows(host, secure=secure):
                return Sent(ok=False, answer=f"{host} is no address to which the gateway may send", final=True)
            async with self._session(pool, secure).post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return _sent(answer)
        except InvalidJobError as refusal:
            return Sent(ok=False, answer=refusal.problem, final=True)
        except ForbiddenAddressError as refusal:
            return Sent(ok=False, answer=str(refusal), final=True)
        except TimeoutError:
            return Sent(ok=False, answer=f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            return Sent(ok=False, answer=_reason(error), final=isinstance(error.__cause__, ForbiddenAddressError))

    async def close(self) -> None:
        """Close the connections."""
        for pool in {pool for pool, _ in self._sessions}:
            await self.forget(pool)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def forget(self, pool: PoolRef) -> None:
        """Close the connections of a pool."""
        for key in [key for key in self._sessions if key[0] == pool]:
            await self._sessions.pop(key).close()

    def _session(self, pool: PoolRef, secure: bool) -> aiohttp.ClientSession:  # noqa: FBT001  # the key of the sessions
        if (pool, secure) not in self._sessions:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(self._destinations, secure=secure, threads=self._threads),
                use_dns_cache=False,  # the address is checked for each connection
                limit=0,  # the number of messages in flight is bounded
                limit_per_host=CONNECTIONS_A_HOST,
                ssl=self._tls or True,
            )
            self._sessions[pool, secure] = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._sessions[pool, secure]


def _sent(answer: aiohttp.ClientResponse) -> Sent:
    """Return the outcome of an answer; the body is not read."""
    answer.close()
    ok = 200 <= answer.status < 300  # noqa: PLR2004  # the class of success
    text = f"{answer.status} {answer.reason or ''}".strip()
    return Sent(ok=ok, answer=text, final=answer.status == GONE, retry_after_s=_retry_after_s(answer))


def _retry_after_s(answer: aiohttp.ClientResponse) -> int:
    """Return the seconds for which the receiver asks; 0: none, or a date, which needs the receiver's clock."""
    after = answer.headers.get("Retry-After", "")
    if answer.status not in {TOO_MANY, UNAVAILABLE} or not (after.isascii() and after.isdigit()):
        return 0
    return min(int(after[:10]), LONGEST_RETRY_AFTER_SECONDS)


def _reason(error: Exception) -> str:
    """Return the kind of a failure, without addresses of the cluster's network."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the receiver's certificate or TLS cannot be used"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return str(error.__cause__) if isinstance(error.__cause__, ForbiddenAddressError) else "the host has no address"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused or unreachable"
    return f"connection failed: {type(error).__name__}"
