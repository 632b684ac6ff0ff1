"""Find the bundled files that are not Python: the CRD and the example.

In a checkout they are at their place in the repository; an installed wheel has them under `share/agentpool` of its
environment.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import yaml

from agentpool_local.errors import MissingPartError

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = Path(sysconfig.get_path("data")) / "share" / "agentpool"

CRD = "crds/agentpools.yaml"
EXAMPLE = "examples/repo-analyst"


def bundled(name: str) -> Path:
    """Return where a file or directory that comes with AgentPool lies. Raises MissingPartError."""
    for root in (CHECKOUT, INSTALLED):
        if (root / name).exists():
            return root / name
    raise MissingPartError(f"{name} is neither in {CHECKOUT} nor in {INSTALLED}", remedy="install agentpool again")


def manifest(name: str) -> dict[str, Any]:
    """Return a YAML file that comes with AgentPool, read. Raises MissingPartError."""
    body: dict[str, Any] = yaml.safe_load(bundled(name).read_text(encoding="utf-8"))
    return body


def checkout() -> Path | None:
    """Return the checkout of this code; None for an installed wheel."""
    return CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else None
