"""Write the gateway's OpenAPI description: `python tools/openapi_document.py FILE`. For linters and generators.

`http_reference` and `typescript_types` take the description from `description`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings


def description() -> dict[str, Any]:
    """Return the description; nothing is connected."""
    return build(GatewaySettings(), SingleRedis("redis://127.0.0.1"), AllowAll()).openapi()


def main() -> None:
    """Write the document."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(description(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
