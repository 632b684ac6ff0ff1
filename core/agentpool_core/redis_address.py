"""Address of a pool's Redis: a URL in its AgentPool, or values of a Secret that has opted in.

Used by operator, gateway and command line. A Secret is used only with the label `agentpool.dev/redis: "true"`: a user
with permission to create AgentPools may lack permission to read Secrets, and must not read them through the operator.
No message contains a part of a Secret's value: it names the Secret, the key and the kind of mistake. The URL goes to
`agentpool_core.queue.connect`.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agentpool_core.environment import with_password
from agentpool_core.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueUnreachableError,
    SettingError,
    UnsupportedServerError,
)
from agentpool_core.queue.connection.redacted_url import place_of
from agentpool_core.queue.connection.url import RedisUrl
from agentpool_core.queue.connection.url_options import OPTIONS
from agentpool_core.spec.queue import DEFAULT_REDIS, Redis, SecretKeyRef

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient

REDIS_LABEL = "agentpool.dev/redis"
OPTED_IN = "true"
NOT_LABELLED = "SecretNotLabelled"
INVALID_URL = "InvalidRedisURL"
URL_FIELD = "spec.queue.redis.url"


class AddressError(SettingError):
    """`spec.queue.redis` of an AgentPool, or the Secret that it names, leads to no Redis."""


class SecretError(AddressError):
    """A Secret that cannot be used for a pool's Redis; `reason` is a CamelCase word. Never shows a value."""

    def __init__(self, *, reason: str, field: str, problem: str, remedy: str) -> None:
        self.reason = reason
        super().__init__(field=field, value=None, problem=problem, remedy=remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A Redis URL, and the Secret that it or its password comes from."""

    url: str = field(repr=False)
    secret: str = ""  # name of the Secret and the key for messages; empty: nothing in the URL is secret
    declared: bool = False  # whether the AgentPool holds the URL, so that at most the password is secret

    @property
    def place(self) -> str:
        """Name of the server in messages: host and port, or the Secret that holds them."""
        return f"the address in {self.secret}" if self.secret and not self.declared else place_of(self.url)

    def without_secret(self, error: QueueError) -> QueueError:
        """Return an error to show, without the server's own words where any part of the URL is secret."""
        return without_address(error) if self.secret else error


def redis_of(agentpool: Mapping[str, Any]) -> Redis:
    """Return `spec.queue.redis` of an AgentPool from the API. Raises AddressError if it cannot be used.

    Ignores fields of newer AgentPools.
    """
    given = ((agentpool.get("spec") or {}).get("queue") or {}).get("redis")
    if not given:
        return DEFAULT_REDIS
    try:
        return Redis.model_validate({name: given[name] for name in ("url", "urlFrom", "passwordFrom") if name in given})
    except (ValidationError, TypeError) as error:
        faults = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
        problem = faults[0]["msg"] if faults else "not an object"
        remedy = "see `kubectl explain agentpool.spec.queue.redis`"
        raise AddressError(field="spec.queue.redis", value=None, problem=problem, remedy=remedy) from None


def secret_of(redis: Redis) -> SecretKeyRef | None:
    """Return the Secret that must be read; None where the URL is all."""
    source = redis.url_from or redis.password_from
    return None if source is None else source.secret_key_ref


def address_of(redis: Redis, namespace: str, secret: Mapping[str, Any]) -> Address:
    """Return the address, completed from a Secret of the API. Raises SecretError."""
    reference = secret_of(redis)
    if reference is None:
        return Address(url=redis.url or "", declared=True)
    place = _place(namespace, reference)
    _check_label(secret, namespace, reference)
    value = _value(secret, reference, place)
    if redis.url_from is not None:
        return Address(url=_checked(value.strip(), place), secret=place)
    password = value.rstrip("\r\n")
    if not password or not password.isprintable():
        raise SecretError(
            reason="InvalidRedisPassword",
            field=place,
            problem="it is empty, or holds line breaks or other characters that cannot be printed",
            remedy="store the password alone, on one line",
        )
    return Address(url=with_password(redis.url or "", password), secret=place, declared=True)


def secret_words(namespace: str, name: str) -> str:
    """Return the name of a Secret for messages."""
    return f"Secret {name!r} in namespace {namespace!r}"


def missing_secret(namespace: str, name: str) -> SecretError:
    """Return the error for a Secret that does not exist."""
    return SecretError(
        reason="SecretNotFound",
        field=secret_words(namespace, name),
        problem="it does not exist",
        remedy=f"create it as docs/install.md shows, with the label {REDIS_LABEL}={OPTED_IN}",
    )


def connect_to(address: Address, **options: Any) -> RedisClient:
    """Return a client, as made by `agentpool_core.queue.connect`.

    Raises SettingError for an unusable URL, which names the field or Secret; for a URL from a Secret the error contains
    no part of it.
    """
    from agentpool_core.queue.connection.client import connect

    try:
        return connect(address.url, **options)
    except SettingError as error:
        if address.declared:
            raise AddressError(field=URL_FIELD, value=None, problem=error.problem, remedy=error.remedy) from None
        raise (_unusable(address.secret, error) if address.secret else error) from None


def without_address(error: QueueError) -> QueueError:
    """Return an error for a failure of a Redis with a secret address, without the address and the server's message."""
    match error:
        case QueueAccessError():
            detail = "it refuses the user"
            remedy = "correct user and password, or give its ACL the commands and keys that docs/security.md lists"
        case QueueReadOnlyError():
            detail, remedy = "it is a read-only replica", "name the primary, or Sentinels"
        case QueueMemoryError():
            detail = "it is out of memory"
            remedy = "raise its maxmemory, or shorten spec.queue.retentionSeconds"
        case UnsupportedServerError():
            detail, remedy = "it is too old", error.remedy
        case QueueUnreachableError():
            detail = f"it does not answer{_cause(error)}"
            remedy = "check that it runs, and that address and network are right"
        case _:
            detail = "its answer cannot be used"
            remedy = "check that it is a Redis or Valkey server, and that no other program writes ap:* keys"
    return QueueError(detail, remedy=remedy)


def _place(namespace: str, reference: SecretKeyRef) -> str:
    return f"key {reference.key!r} of {secret_words(namespace, reference.name)}"


def _check_label(secret: Mapping[str, Any], namespace: str, reference: SecretKeyRef) -> None:
    labels = (secret.get("metadata") or {}).get("labels") or {}
    if labels.get(REDIS_LABEL) != OPTED_IN:
        raise SecretError(
            reason=NOT_LABELLED,
            field=secret_words(namespace, reference.name),
            problem=f"it is not labelled {REDIS_LABEL}={OPTED_IN}, so AgentPool does not use it",
            remedy="if pools of this namespace may use it, run "
            f"`kubectl --namespace {namespace} label secret {reference.name} {REDIS_LABEL}={OPTED_IN}`",
        )


def _value(secret: Mapping[str, Any], reference: SecretKeyRef, place: str) -> str:
    encoded = (secret.get("data") or {}).get(reference.key)
    if not encoded:
        raise SecretError(
            reason="SecretKeyMissing",
            field=place,
            problem="there is no such key, or it is empty",
            remedy="add it, or name another key in spec.queue.redis",
        )
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        problem, remedy = "it is not UTF-8 text", "store text"
        raise SecretError(reason=INVALID_URL, field=place, problem=problem, remedy=remedy) from None


def _checked(url: str, place: str) -> str:
    """Return a URL from a Secret unchanged. Raises SecretError naming the kind of mistake."""
    if "://" not in url:
        raise SecretError(
            reason=INVALID_URL,
            field=place,
            problem="it does not look like a Redis URL; it may be a bare password",
            remedy="store a URL such as redis://:PASSWORD@HOST:6379/0, or name this key in "
            "spec.queue.redis.passwordFrom beside a url without credentials",
        )
    try:
        RedisUrl.parse(url)
    except SettingError as error:
        raise _unusable(place, error) from None
    return url


def _unusable(place: str, error: SettingError) -> SecretError:
    """Return the error for a URL from a Secret. The parser's texts are fixed except the names of unknown options."""
    problem, remedy = error.problem, error.remedy
    option = re.match(r"option ?(\w*):", problem)
    if option is not None and option[1] not in OPTIONS:
        problem, remedy = "an option is unknown", f"known options: {', '.join(sorted(OPTIONS))}"
    return SecretError(reason=INVALID_URL, field=place, problem=problem, remedy=remedy)


def _cause(error: BaseException) -> str:
    """Return the system's name of a lost connection, in brackets; it contains neither host nor port."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror):
            return " (its host name is not known)"
        if isinstance(seen, ssl.SSLError):
            return " (TLS failed)"
        if isinstance(seen, OSError) and seen.errno:
            return f" ({os.strerror(seen.errno)})"
        seen = seen.__cause__ or seen.__context__
    return ""
