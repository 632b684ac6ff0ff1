"""Announced size of a reply, checked before a parser allocates memory.

The parser allocates a list as soon as its size is announced, so a dozen bytes can cost 16 GiB and minutes. Every chunk
is searched cheaply for an announcement; only after a match are the frames counted exactly, because a text may look like
an announcement. `wire` and `pools` feed the parser.
"""

from __future__ import annotations

import re

from redis.exceptions import InvalidResponse

MAX_REPLY_BYTES = 536_870_912  # of a call: memory that a server may claim; Redis's own limit for a string
MAX_ITEMS = 10_000_000  # of a list; the largest replies have some 10,000
_SUSPICIOUS = re.compile(rb"\r\n[*%~>|]\+?\d{8}")
_LISTS = b"*%~>|"
_TEXTS = b"$=!"
_SHORTEST_HEADER = 9  # bytes of an announcement that is suspicious, at the beginning of a reply
_LONGEST_HEADER = 24  # bytes that an announcement may have, and may be cut in


class Frames:
    """The bytes of the replies to a call."""

    def __init__(self, most_bytes: int = MAX_REPLY_BYTES) -> None:
        self._most_bytes = most_bytes
        self.begin()

    def begin(self) -> None:
        """Forget earlier data: a new reply begins."""
        self._chunks: list[bytes] = []
        self._size = 0
        self._last = b"\r\n"

    def check(self, data: bytes) -> None:
        """Take the next bytes. Raises InvalidResponse for too many, or for a list that no script would return."""
        if len(data) < _SHORTEST_HEADER and not self._chunks:  # most replies: a short line
            self._chunks.append(data)
            self._last = b"\r\n" + data
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._most_bytes:
            self._chunks.clear()
            raise InvalidResponse(f"more than {self._most_bytes} bytes")
        found = _SUSPICIOUS.search(self._last + data)
        self._last = data[-_LONGEST_HEADER:] if len(data) > _LONGEST_HEADER else (self._last + data)[-_LONGEST_HEADER:]
        if found and _largest(b"".join(self._chunks)) > MAX_ITEMS:
            raise InvalidResponse(f"a list of more than {MAX_ITEMS} items")


def _largest(data: bytes) -> int:
    """The most items that any list in these frames announces."""
    largest = position = 0
    while (end := data.find(b"\r\n", position)) > position:
        kind, size = data[position], data[position + 1 : end].lstrip(b"+")
        position = end + 2
        if not size.isdigit():
            continue
        if kind in _LISTS:
            largest = max(largest, int(size[:20]))
        elif kind in _TEXTS:
            position += int(size[:20]) + 2
    return largest
