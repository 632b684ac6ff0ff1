"""Checksums of the Redis addresses that come from Secrets: a changed address replaces the workers.

A running worker keeps its first address. So the pod template carries a checksum of the values that the pool uses; a
change of these values, not of different keys, rolls the workers out. The checksum is visible to all readers of
Deployments; a slow key derivation protects a weak password from guesses. Used by `manifests`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.redis_address import Address

COST = 2**12  # of scrypt: 4 MiB and some milliseconds
BLOCK_SIZE = 8


class Checksums:
    """The checksum of each pool, by the AgentPool's uid; derived once for each value."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}  # URL and checksum

    def note(self, uid: str, address: Address) -> None:
        """Record the address that a pool uses now."""
        if not address.secret:
            self._known.pop(uid, None)
        elif self._known.get(uid, ("", ""))[0] != address.url:
            self._known[uid] = address.url, _checksum(address.url, salt=uid)

    def known(self, uid: str) -> str:
        """Return the checksum; empty = no Secret, or not read yet."""
        return self._known.get(uid, ("", ""))[1]

    def forget(self, uid: str) -> None:
        """Forget a deleted pool and the pool's address."""
        self._known.pop(uid, None)


def _checksum(url: str, *, salt: str) -> str:
    return hashlib.scrypt(url.encode(), salt=salt.encode(), n=COST, r=BLOCK_SIZE, p=1, dklen=8).hex()
