"""Allowed options of a Redis URL, each with the reader of the value.

An allow-list, because redis-py passes unknown options to a connection, which raises a TypeError at the first command.
`url` reads them, `client` passes them on.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from typing import Any

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_LAST_DATABASE = 65_535
_TLS_VERSIONS = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    str(int(ssl.TLSVersion.TLSv1_2)): ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
    str(int(ssl.TLSVersion.TLSv1_3)): ssl.TLSVersion.TLSv1_3,
}


class OptionError(ValueError):
    """A value that an option cannot have; the text never shows the value, which may be of a password."""


def _text(text: str) -> str:
    if not text:
        raise OptionError("it has no value")
    return text


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):  # noqa: PLR2004
            raise OptionError(f"not a whole number between {least} and {most}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise OptionError("not a number of seconds above 0")
    return value


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise OptionError("neither true nor false")
    return text.lower() in _TRUE


def _certificate_check(text: str) -> str:
    """Return the value in redis-py's form (none, optional, required); also accepts Python's names (CERT_NONE …)."""
    value = text.lower().removeprefix("cert_")
    if value not in {"none", "optional", "required"}:
        raise OptionError("none of none, optional and required")
    return value


def _tls_version(text: str) -> ssl.TLSVersion:
    if text.lower() not in _TLS_VERSIONS:
        raise OptionError("neither TLSv1.2 nor TLSv1.3")
    return _TLS_VERSIONS[text.lower()]


def _name(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise OptionError("not a name of printable ASCII characters without blanks")
    return text


TLS_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_cert_reqs": _certificate_check,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": _text,
    "ssl_min_version": _tls_version,
}
SENTINEL_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "sentinel_username": _text,
    "sentinel_password": _text,
    "sentinel_tls": _flag,
}
OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "client_name": _name,
    "db": _whole(0, _LAST_DATABASE),
    "health_check_interval": _whole(0, 86_400),
    "max_connections": _whole(1, 100_000),
    "protocol": _whole(2, 3),
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "socket_timeout": _seconds,
    "username": _text,
    "password": _text,
    **TLS_OPTIONS,
    **SENTINEL_OPTIONS,
}
SET_BY_US = (
    "decode_responses",
    "encoding",
    "encoding_errors",
    "retry",
    "retry_on_error",
    "retry_on_timeout",
    "single_connection_client",
)
