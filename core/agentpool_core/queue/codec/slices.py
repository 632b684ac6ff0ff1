"""Cut many jobs into calls that hold the server for a bounded time. Used by `producer`, `durability` and `leases`."""

from __future__ import annotations

from collections.abc import Sequence

BYTES_A_CALL = 4 * 2**20  # of bodies, unless a single one is larger


def slices(sizes: Sequence[int], *, most: int) -> list[tuple[int, int]]:
    """Return first and last + 1 of each call: at most `most` items, of at most BYTES_A_CALL together."""
    cuts = []
    start = size = 0
    for index, more in enumerate(sizes):
        if index > start and (index - start >= most or size + more > BYTES_A_CALL):
            cuts.append((start, index))
            start, size = index, 0
        size += more
    if sizes:
        cuts.append((start, len(sizes)))
    return cuts
