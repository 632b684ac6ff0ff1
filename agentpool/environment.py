"""Which Redis the environment names, for commands and workers alike. Imports nothing, for every command asks it."""

from __future__ import annotations

from collections.abc import Mapping

REDIS_VARIABLES = ("AGENTPOOL_REDIS_URL", "REDIS_URL")  # the first that is set wins


def redis_url(environ: Mapping[str, str]) -> str | None:
    """Its URL; None where none is named."""
    return next((environ[name] for name in REDIS_VARIABLES if environ.get(name)), None)
