"""Which Redis the environment names, for commands and workers alike. Imports nothing, for every command asks it."""

from __future__ import annotations

from collections.abc import Mapping

REDIS_VARIABLES = ("AGENTPOOL_REDIS_URL", "REDIS_URL")  # the first that is set wins
PASSWORD_VARIABLE = "AGENTPOOL_REDIS_PASSWORD"  # noqa: S105 - a variable's name


def redis_url(environ: Mapping[str, str]) -> str | None:
    """Its URL; None where none is named. A password that stands in a variable of its own is put into it."""
    found = next((environ[name] for name in REDIS_VARIABLES if environ.get(name)), None)
    password = environ.get(PASSWORD_VARIABLE, "").rstrip("\r\n")
    return with_password(found, password) if found and password else found


def with_password(url: str, password: str) -> str:
    """Return a URL that has no user or password with this password; one that has either as it is."""
    from urllib.parse import quote

    scheme, separator, rest = url.partition("://")
    return url if "@" in rest or not separator else f"{scheme}://:{quote(password, safe='')}@{rest}"
