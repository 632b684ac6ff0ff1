"""Options of `agentpool gateway`, and the settings derived from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from agentpool_gateway.addresses import ExternalUrl, dashboard_of, origin_of
from agentpool_gateway.settings import GatewaySettings


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayOptions:
    """The command's options."""

    redis: str | None  # URL of all pools' Redis; None: as each AgentPool says
    kubeconfig: Path | None  # None: the pod's own account
    namespace: tuple[str, ...]  # served namespaces; none: all
    tokens: Path | None  # file of static tokens
    auth: str | None  # tokens or kubernetes; None: tokens where a file is given
    audience: tuple[str, ...]  # that tokens must carry, with kubernetes
    no_auth: bool  # serve everybody
    host: str
    port: int  # 0 chooses a free port
    metrics_port: int | None  # 0 chooses a free port; None: no metrics
    max_body: int | None  # bytes; None: the default
    rate: float  # requests a second and caller; 0: no limit
    burst: int  # requests at once
    external_url: str | None  # URL for clients; None: derived from each request
    trusted_proxies: tuple[str, ...]  # addresses and networks
    allowed_host: tuple[str, ...]  # additional names with no_auth, beside loopback
    cors_origin: tuple[str, ...]  # origins of pages that may read answers
    webhook_host: tuple[str, ...]  # to which webhooks may go
    webhook_network: tuple[str, ...]  # private networks to which webhooks may go
    webhook_keys: Path | None  # file of keys
    a2a_card_key: Path | None  # file of the key that signs agent cards
    grafana_url: str | None  # of the dashboard
    recheck: float  # seconds
    drain: float  # seconds
    log_format: str  # text or json
    log_level: str

    def settings(self) -> GatewaySettings:
        """Return the gateway's settings."""
        found = GatewaySettings(
            rate_per_s=self.rate,
            rate_burst=self.burst,
            recheck_s=self.recheck,
            drain_s=self.drain,
            external_url=ExternalUrl.parse(self.external_url) if self.external_url else None,
            trusted_proxies=self.trusted_proxies,
            allowed_hosts=self.allowed_host,
            webhook_hosts=self.webhook_host,
            webhook_networks=self.webhook_network,
            webhook_keys=self.webhook_keys,
            a2a_card_key=self.a2a_card_key,
            grafana_url=dashboard_of(self.grafana_url) if self.grafana_url else None,
            cors_origins=tuple(map(origin_of, self.cors_origin)),
        )
        return replace(found, max_body_bytes=self.max_body) if self.max_body else found
