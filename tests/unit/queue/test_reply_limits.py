"""Limits on replies: counted as a parser counts them, wherever they are cut, and each byte once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse

from agentpool_core.queue.connection.reply_limits import BYTES_PER_ITEM, COUNTED_FROM_BYTES, MAX_ITEMS, Frames
from tests.fixtures.hostile import encoded

SUSPICIOUS = "\r\n*99999999\r\n"  # inside of a text, the letters announce nothing
LEAVES = st.integers(-5, 2**40) | st.text(max_size=5) | st.sampled_from([None, SUSPICIOUS, "x" * 300, ValueError("no")])
REPLIES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=6), max_leaves=30)
LIMIT_BYTES = 2**20
LIMIT_ITEMS = LIMIT_BYTES // BYTES_PER_ITEM
SMALL = b":1\r\n" * 4_000 + encoded(SUSPICIOUS)


def items_of(reply) -> int:
    return len(reply) + sum(map(items_of, reply)) if isinstance(reply, list) else 0


@given(replies=st.lists(REPLIES, min_size=1, max_size=4), cut=st.integers(1, 40))
def test_replies_within_the_limits_pass_wherever_they_are_cut(replies, cut):
    """Each reply has the full limits; an announcement inside of a text does not count."""
    longest = max(len(encoded(reply)) for reply in replies)
    most = max(longest + cut, max(map(items_of, replies)) * BYTES_PER_ITEM)
    frames = Frames(most, each=True)
    data = b"".join(map(encoded, replies))
    for start in range(0, len(data), cut):
        frames.check(data[start : start + cut])


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("cut", [7, 1_000, 100_000])
@pytest.mark.parametrize(
    "data",
    [
        b"*%d\r\n" % (MAX_ITEMS + 1),
        b"%%%d\r\n" % MAX_ITEMS,
        b"*1000\r\n" + b"*9999999\r\n" * 3,
        encoded(SUSPICIOUS) * 50 + b"*2\r\n" + encoded(SUSPICIOUS) + b"*99999999\r\n",
        b"*%d\r\n" % (LIMIT_ITEMS - 1) + b"*1\r\n:1\r\n" * 20_000,
        b"$2000000000\r\n" + b"x" * 2 * LIMIT_BYTES,
        b"+" + b"x" * 2 * LIMIT_BYTES,
        b"*60000\r\n" + encoded("x" * 30) * 60_000,
    ],
)
def test_a_reply_beyond_the_limits_is_refused(data, cut, each):
    """Too many items, in one list or in many, or too many bytes, in texts or beside them."""
    frames = Frames(LIMIT_BYTES, each=each)
    with pytest.raises(InvalidResponse):  # noqa: PT012 - a chunk is refused
        for start in range(0, len(data), cut):
            frames.check(data[start : start + cut])


@pytest.mark.parametrize("each", [False, True])
def test_counted_chunks_are_not_kept(each):
    """Counting all chunks again would block an event loop for minutes; keeping chunks would double the memory."""
    frames = Frames(each=each)
    frames.check(b"*1000000\r\n")
    for _ in range(100):
        frames.check(SMALL)
        assert sum(map(len, frames._chunks)) <= COUNTED_FROM_BYTES
    assert len(frames._count._rest) < 100


def test_a_short_reply_is_not_counted():
    """Most replies are short; only a possible announcement needs a check."""
    frames = Frames()
    for data in (b"+OK\r\n", b":1\r\n", b"*2\r\n$2\r\nok\r\n:1\r\n", encoded(["x" * 1_000, 5])):
        frames.begin()
        frames.check(data)
        assert frames._count is None
    frames.check(encoded(SUSPICIOUS))
    assert frames._count is not None
