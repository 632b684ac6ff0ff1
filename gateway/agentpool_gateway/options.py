"""What `agentpool gateway` was asked for, and the settings that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from agentpool_gateway.settings import GatewaySettings


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayOptions:
    """The command's options."""

    redis: str | None  # URL of all pools' Redis; None: as each AgentPool says
    kubeconfig: Path | None  # None: the pod's own account
    namespace: tuple[str, ...]  # whose pools are served; none: all
    tokens: Path | None  # file of static tokens
    auth: str | None  # tokens or kubernetes; None: tokens where a file is given
    audience: tuple[str, ...]  # that tokens must carry, with kubernetes
    no_auth: bool  # serve everybody
    host: str
    port: int  # 0: any free one
    max_body: int | None  # bytes; None: the default
    rate: float  # requests a second and caller; 0: no limit
    burst: int  # requests at once
    recheck: float  # seconds
    drain: float  # seconds
    log_format: str  # text or json
    log_level: str

    def settings(self) -> GatewaySettings:
        """The gateway's settings."""
        found = GatewaySettings(rate_per_s=self.rate, rate_burst=self.burst, recheck_s=self.recheck, drain_s=self.drain)
        return replace(found, max_body_bytes=self.max_body) if self.max_body else found
