"""A distinct loopback address for every pod, so fixed ports never collide.

All of 127/8 leads to this host on Linux. A node claims a /24 by holding a datagram socket on the block's last address;
the system frees the socket when the node dies. If the system routes 127.0.0.1 only (macOS), all pods share that address
and fixed ports can collide.
"""

from __future__ import annotations

import random
import socket

from agentpool_devcluster.node.errors import NodeSetupError

SHARED_ADDRESS = "127.0.0.1"
CLAIM_PORT = 10250  # of the claim's socket; nothing is ever sent there
FIRST_HOST, LAST_HOST = 2, 253  # of a block; .254 carries the claim
CLAIM_HOST = 254
TRIES = 64


class AddressBlock:
    """The addresses of a node's pods."""

    def __init__(self, prefix: str | None, claim: socket.socket | None) -> None:
        self._prefix = prefix
        self._claim = claim
        self._used: set[int] = set()
        self._next = FIRST_HOST

    @classmethod
    def claim(cls) -> AddressBlock:
        """Claim a block that no node on this host holds."""
        if not _is_routed("127.64.0.1"):
            return cls(None, None)
        for _ in range(TRIES):
            prefix = f"127.{random.randint(64, 254)}.{random.randint(0, 255)}"  # noqa: S311 - the claim decides
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                holder.bind((f"{prefix}.{CLAIM_HOST}", CLAIM_PORT))
            except OSError:
                holder.close()
            else:
                return cls(prefix, holder)
        raise NodeSetupError(f"no free block of loopback addresses found in {TRIES} tries; stop other nodes")

    @property
    def cidr(self) -> str | None:
        """Return the block for `Node.spec.podCIDR`; None if all pods share an address."""
        return f"{self._prefix}.0/24" if self._prefix else None

    def take(self) -> str:
        """Return an address for a pod, reused only after all addresses of the block."""
        if self._prefix is None:
            return SHARED_ADDRESS
        for _ in range(FIRST_HOST, LAST_HOST + 1):
            host, self._next = self._next, self._next + 1 if self._next < LAST_HOST else FIRST_HOST
            if host not in self._used:
                self._used.add(host)
                return f"{self._prefix}.{host}"
        raise NodeSetupError(f"all addresses of {self.cidr} are taken")

    def give_back(self, address: str) -> None:
        """Release the address of an ended pod."""
        self._used.discard(int(address.rpartition(".")[2]))

    def close(self) -> None:
        """Give the block back."""
        if self._claim is not None:
            self._claim.close()


def _is_routed(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
