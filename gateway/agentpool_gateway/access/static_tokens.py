"""Static tokens from a file, usually a mounted Secret, read again when changed.

    tokens:
    - {name: lead, token: "…", namespaces: [research], verbs: [read, submit]}
    - {name: admin, sha256: "hex digest", expires: 2027-01-01T00:00:00Z}

Without `namespaces` a token is valid for all of them, without `verbs` for everything. All tokens are compared, each in
constant time, so response times reveal nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.access.authority import Caller, Verb, forbidden, unauthenticated

log = logging.getLogger(__name__)
LEAST_TOKEN_CHARS = 16  # shorter tokens can be guessed
_FIELDS = {"name", "token", "sha256", "namespaces", "verbs", "expires"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A token and its permissions."""

    name: str
    digest: bytes  # SHA-256 of the token
    namespaces: frozenset[str] | None  # None: all
    verbs: frozenset[Verb]
    expires: datetime | None  # None: never


class StaticTokens:
    """An Authority that reads a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._grants: tuple[Grant, ...] = ()
        self._read_again()

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        """Return the holder of a token that has not expired."""
        del client  # a comparison costs only this process
        self._read_again()
        if not token:
            raise unauthenticated("no token was sent")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for grant in self._grants:
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        if found is None or (found.expires is not None and found.expires <= datetime.now(UTC)):
            raise unauthenticated("the token is unknown or has expired")
        return Caller(name=found.name, key=found.name)

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Check the grant's namespaces and verbs."""
        grant = next((grant for grant in self._grants if grant.name == caller.key), None)
        if grant is None or verb not in grant.verbs:
            raise forbidden(caller, verb, pool)
        if grant.namespaces is not None and pool.namespace not in grant.namespaces:
            raise forbidden(caller, verb, pool)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _read_again(self) -> None:
        """Load a changed file. A file that cannot be used is refused at the start, and changes nothing later."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            self._grants = _grants_in(self._path)
        except OSError as error:
            if not self._grants:
                raise _unreadable(self._path, error) from error
            return  # a Secret is being replaced; look again at the next request
        except SettingError as error:
            if not self._grants:
                raise
            log.error("%s; until then the tokens of the former file stay valid", error)  # noqa: TRY400 - a file, no fault here
        self._stamp = stamp


def _grants_in(path: Path) -> tuple[Grant, ...]:
    """Return the grants of a file. Raises SettingError, or OSError while it is being replaced."""
    try:
        return grants_of(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: an impossible date
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SettingError:
    return _refused(str(path), None, f"cannot be read ({type(error).__name__})")


def grants_of(document: Any, name: str) -> tuple[Grant, ...]:
    """Return the grants in a tokens file. Raises SettingError naming the entry, never showing a token."""
    entries = document.get("tokens") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise _refused(name, None, "has no list `tokens`")
    grants = tuple(_grant(f"{name}: tokens[{place}]", entry) for place, entry in enumerate(entries))
    if len({grant.name for grant in grants}) < len(grants):
        raise _refused(name, None, "gives two tokens the same name")
    if len({grant.digest for grant in grants}) < len(grants):
        raise _refused(name, None, "has two entries for the same token")
    return grants


def _grant(field: str, entry: Any) -> Grant:
    if not isinstance(entry, dict) or not entry.keys() <= _FIELDS or not isinstance(entry.get("name"), str):
        raise _refused(field, None, f"is not an object with a name and some of {', '.join(sorted(_FIELDS))}")
    verbs = _names(field, entry, "verbs")
    if verbs is not None and not (verbs and verbs <= {verb.value for verb in Verb}):
        raise _refused(field, sorted(verbs), f"verbs are some of {', '.join(Verb)}")
    expires = entry.get("expires")
    if expires is not None and not isinstance(expires, datetime):
        raise _refused(field, str(expires), "expires is not a time such as 2027-01-01T00:00:00Z")
    return Grant(
        name=entry["name"],
        digest=_digest(field, entry),
        namespaces=_names(field, entry, "namespaces"),
        verbs=frozenset(Verb if verbs is None else map(Verb, verbs)),
        expires=expires.replace(tzinfo=expires.tzinfo or UTC) if expires else None,
    )


def _names(field: str, entry: dict[str, Any], key: str) -> frozenset[str] | None:
    """Return a list of names; None if the entry has no such list, which means all."""
    if key not in entry:
        return None
    found = entry[key]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise _refused(field, None, f"{key} is not a list of names")
    return frozenset(found)


def _digest(field: str, entry: dict[str, Any]) -> bytes:
    token, sha256 = entry.get("token"), entry.get("sha256")
    if isinstance(sha256, str) and token is None and re.fullmatch("[0-9a-f]{64}", sha256):
        return bytes.fromhex(sha256)
    if isinstance(token, str) and sha256 is None and len(token) >= LEAST_TOKEN_CHARS:
        return hashlib.sha256(token.encode()).digest()
    raise _refused(field, None, f"needs a token of {LEAST_TOKEN_CHARS} characters or more, or its sha256 in hex")


def _refused(field: str, value: object, problem: str) -> SettingError:
    return SettingError(
        field=field, value=value, problem=problem, remedy="write it as docs/submit.md shows, and mount it from a Secret"
    )
