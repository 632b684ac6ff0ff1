"""Signatures of messages, by the scheme of Standard Webhooks (https://www.standardwebhooks.com).

The receiver has a secret for each pool, derived from the gateway's key, so that a receiver of one pool cannot write
messages of another. With several keys a message carries a signature for each: the owner replaces a key without a gap.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef

PREFIX = "whsec_"
LEAST_KEY_BYTES = 24  # as the scheme demands


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKeys:
    """The gateway's keys; the first is the newest."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> SigningKeys:
        """Return the keys in a file, one in a line: `whsec_` and at least 24 bytes in base64. Raises SettingError."""
        try:
            lines = path.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(path, f"cannot be read: {type(error).__name__}") from error
        keys = tuple(_key(path, line) for line in lines)
        if not keys:
            raise _refused(path, "has no key")
        return cls(keys=keys)

    def secrets_of(self, pool: PoolRef) -> list[str]:
        """Return the secrets with which a receiver verifies the messages of a pool; the first is the newest."""
        return [PREFIX + base64.b64encode(_derived(key, pool)).decode() for key in self.keys]

    def headers(self, pool: PoolRef, message_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
        """Return the headers of a message: id, time, and a signature for each key."""
        signed = f"{message_id}.{timestamp_s}.".encode() + body
        signatures = [hmac.digest(_derived(key, pool), signed, "sha256") for key in self.keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures),
        }


def _derived(key: bytes, pool: PoolRef) -> bytes:
    return hmac.digest(key, f"agentpool webhooks of {pool}".encode(), hashlib.sha256)


def _key(path: Path, line: str) -> bytes:
    try:
        found = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise _refused(path, "has a line that is not base64") from error
    if len(found) < LEAST_KEY_BYTES:
        raise _refused(path, f"has a key of {len(found)} bytes, fewer than {LEAST_KEY_BYTES}")
    return found


def _refused(path: Path, problem: str) -> SettingError:
    remedy = 'make one: echo "whsec_$(openssl rand -base64 32)" > FILE'
    return SettingError(field="--webhook-keys", value=path, problem=problem, remedy=remedy)
