"""Version of the protocol that a request speaks: the header `A2A-Version`, or the query parameter of that name."""

from __future__ import annotations

from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, VERSION_HEADER
from a2a.utils.errors import VersionNotSupportedError
from fastapi import Request

CURRENT, LEGACY_VERSION = PROTOCOL_VERSION_1_0, PROTOCOL_VERSION_0_3


def version_of(request: Request, *supported: str) -> str:
    """Return the version, without its patch level; a request that names none speaks 0.3.

    Raises VersionNotSupportedError.
    """
    named = _named(request)
    found = _without_patch(named)
    if found not in supported:
        raise VersionNotSupportedError(
            f"A2A version {named[:20]!r} is not served here; send the header {VERSION_HEADER}: {supported[0]}",
            {"supported": ", ".join(supported)},
        )
    return found


def speaks_current(request: Request) -> bool:
    """Return whether a request names the current version."""
    return _without_patch(_named(request)) == CURRENT


def _named(request: Request) -> str:
    return request.headers.get(VERSION_HEADER) or request.query_params.get(VERSION_HEADER) or LEGACY_VERSION


def _without_patch(named: str) -> str:
    return ".".join(named.strip().split(".")[:2])
