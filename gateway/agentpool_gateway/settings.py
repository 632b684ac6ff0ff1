"""Every limit and interval of the gateway, with unit, default and reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agentpool_gateway.addresses import ExternalUrl


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Settings of the gateway."""

    max_body_bytes: int = 8 * 1024 * 1024  # per request; a payload's own limit is the queue's, 1 MiB
    max_jobs: int = 1_000  # per bulk request; use `agentpool submit --file` for more
    body_timeout_s: float = 15.0  # for a whole body to arrive; slower senders are cut off
    header_timeout_s: float = 10.0  # for the request line and headers to arrive
    max_wait_s: float = 60.0  # longest long-poll; below common proxies' own limits
    recheck_s: float = 30.0  # after which an open stream's or long-poll's token is checked again
    drain_s: float = 5.0  # after SIGTERM, for which requests are taken: load balancers notice in a few seconds
    heartbeat_s: float = 15.0  # between comments on a silent event stream, so proxies keep it open
    stream_backlog: int = 1_000  # events that a slow reader may lag before it is disconnected, to resume by id
    external_url: ExternalUrl | None = None  # by which clients know the gateway; None: as each request says
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks with trusted X-Forwarded headers
    allowed_hosts: tuple[str, ...] = ()  # additional names without authentication, beside loopback
    cors_origins: tuple[str, ...] = ()  # pages of these origins may read answers; none: only the gateway's own
    webhook_hosts: tuple[str, ...] = ()  # to which webhooks may go; none: no webhooks
    webhook_networks: tuple[str, ...] = ()  # private networks to which webhooks may go, also without TLS
    webhook_keys: Path | None = None  # file of the keys that sign webhooks
    a2a_card_key: Path | None = None  # file of the key that signs agent cards; none: cards are not signed
    grafana_url: str | None = None  # of the dashboard, to which the console links; none: no link
    webhook_timeout_s: float = 15.0  # for a receiver to answer
    webhook_poll_s: float = 5.0  # longest time between two looks at the outbox of an idle pool
    rate_per_s: float = 0.0  # requests a second and caller; 0: no limit
    rate_burst: int = 100  # requests that a caller may send at once before the rate counts
    review_cache_s: float = 10.0  # how long an answer of the Kubernetes API on a token holds
    location_cache_s: float = 30.0  # lifetime of a pool's cached location
    names_cache_s: float = 5.0  # how long the list of pools holds
