"""Limits on the size of a reply, checked before a parser makes room for the reply.

The parser makes room for a list as soon as the size is announced, so a dozen bytes can cost 16 GiB and minutes. Each
chunk of a short reply is searched for a possible announcement, which is cheap. After a match, and in long replies, the
frames are counted. Each byte is counted once: a server that sends much must not keep the event loop busy. `wire` and
`pools` feed the parser.
"""

from __future__ import annotations

import re

from redis.exceptions import InvalidResponse

MAX_REPLY_BYTES = 536_870_912  # of a call: the most that a server may make us hold; Redis's own limit for a string
MAX_ITEMS = 1_000_000  # of a reply, nested lists included; the largest replies have some 10,000
BYTES_PER_ITEM = 16  # on average, at least; short items cost ten times as much memory as they have bytes
COUNTED_FROM_BYTES = 65_536  # of a call: longer replies are counted, so the uncounted rest stays small
_SUSPICIOUS = re.compile(rb"\r\n[*%~>|]\+?\d{6}")
_LISTS = b"*%~>|"
_PAIRS = b"%|"  # lists that announce half of their items
_TEXTS = b"$=!"
_SHORTEST_HEADER = 7  # bytes of an announcement that is suspicious, at the beginning of a reply
_LONGEST_HEADER = 24  # bytes that an announcement may have, and may be cut in
_DIGITS = 20  # of a size that are read


class Frames:
    """The bytes of the replies to a call; with `each`, of several replies in sequence, each with separate limits."""

    def __init__(self, most_bytes: int = MAX_REPLY_BYTES, *, each: bool = False) -> None:
        self._most_bytes = most_bytes
        self._most_items = min(MAX_ITEMS, most_bytes // BYTES_PER_ITEM)
        self._each = each
        self.begin()

    def begin(self) -> None:
        """Start a new reply."""
        self._chunks: list[bytes] = []  # not counted yet
        self._size = 0
        self._last = b"\r\n"
        self._count = _Count(self._most_items) if self._each else None

    def check(self, data: bytes) -> None:
        """Take the next bytes. Raises InvalidResponse for too many, or for a list that no script would return."""
        if self._count is not None:
            self._add(self._count, data)
            return
        if len(data) < _SHORTEST_HEADER and not self._chunks:  # most replies: a single short line
            self._chunks.append(data)
            self._last = b"\r\n" + data
            return
        self._chunks.append(data)
        self._size += len(data)
        self._check_size()
        suspicious = _SUSPICIOUS.search(self._last + data)
        self._last = data[-_LONGEST_HEADER:] if len(data) > _LONGEST_HEADER else (self._last + data)[-_LONGEST_HEADER:]
        if suspicious or self._size > COUNTED_FROM_BYTES:
            self._count = _Count(self._most_items)
            self._count.add(b"".join(self._chunks))
            self._chunks = []

    def _add(self, count: _Count, data: bytes) -> None:
        self._size += len(data)
        left = count.add(data)
        if self._each and left is not None:
            self._size = left
        self._check_size()

    def _check_size(self) -> None:
        if self._size > self._most_bytes:
            self._chunks.clear()
            raise InvalidResponse(f"more than {self._most_bytes} bytes")


class _Count:
    """The frames of a stream of bytes, which is cut anywhere."""

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._items = 0  # announced so far
        self._owed = 0  # frames that the reply still lacks
        self._skip = 0  # bytes that a text still lacks
        self._rest = b""  # a header without the line end

    def add(self, data: bytes) -> int | None:
        """Take the next bytes; return how many of them follow the last whole reply, None where none has ended.

        Raises InvalidResponse for too many items.
        """
        data = self._rest + data
        position, size = self._skip, len(data)
        ended_at = position if not self._owed and 0 < position <= size else None
        while position < size and (end := data.find(b"\r\n", position)) >= 0:
            kind, digits = data[position], data[position + 1 : end].lstrip(b"+")
            position = end + 2
            number = int(digits[:_DIGITS]) if digits.isdigit() else 0
            owed = (self._owed or 1) - (kind != ord("|"))  # an attribute precedes its value
            if kind in _LISTS:
                items = 2 * number if kind in _PAIRS else number
                owed += items
                self._items += items
                if self._items > self._most_items:
                    raise InvalidResponse(f"a list of more than {self._most_items} items")
            elif kind in _TEXTS and digits.isdigit():
                position += number + 2
            self._owed = owed
            if not owed:
                self._items, ended_at = 0, position if position <= size else ended_at
        self._skip, self._rest = max(0, position - size), data[position:]
        if len(self._rest) > _LONGEST_HEADER:  # a long line; only the beginning and the end matter
            self._rest = self._rest[:_LONGEST_HEADER] + self._rest[-1:]
        return None if ended_at is None else size - ended_at
