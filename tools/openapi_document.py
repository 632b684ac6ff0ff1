"""Write the gateway's OpenAPI description: `python tools/openapi_document.py FILE`. For linters and generators."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings


def main() -> None:
    """Write the document; nothing is connected."""
    found = build(GatewaySettings(), SingleRedis("redis://127.0.0.1"), AllowAll()).openapi()
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


main()
