"""The Redis URL in the environment, for commands and workers. Imports nothing, because every command uses it."""

from __future__ import annotations

from collections.abc import Mapping

REDIS_VARIABLES = ("AGENTPOOL_REDIS_URL", "REDIS_URL")  # the first that is set wins
PASSWORD_VARIABLE = "AGENTPOOL_REDIS_PASSWORD"  # noqa: S105 - a variable's name


def redis_url(environ: Mapping[str, str]) -> str | None:
    """Return the URL, with the password of a separate variable inserted; None if not set."""
    found = next((environ[name] for name in REDIS_VARIABLES if environ.get(name)), None)
    password = environ.get(PASSWORD_VARIABLE, "").rstrip("\r\n")
    return with_password(found, password) if found and password else found


def with_password(url: str, password: str) -> str:
    """Return the URL with this password; unchanged if the URL has a user or password."""
    from urllib.parse import quote

    scheme, separator, rest = url.partition("://")
    return url if "@" in rest or not separator else f"{scheme}://:{quote(password, safe='')}@{rest}"
