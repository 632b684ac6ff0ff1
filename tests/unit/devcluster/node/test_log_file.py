"""Logs of containers."""

from __future__ import annotations

import asyncio

from agentpool_devcluster.node.log_file import LogQuery, LogWriter, follow_log, log_path, read_log


async def written(path, *chunks):
    writer, reader = LogWriter(path), asyncio.StreamReader(limit=64)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    await writer.copy(reader, "stdout")
    writer.close()


async def test_lines_are_read_as_written(tmp_path):
    """A whole line, an unfinished last line and a line too long for the buffer."""
    path = log_path(tmp_path, "main", 0)
    await written(path, b"one\ntw", b"o\n", b"x" * 200 + b"\n", b"end")
    assert read_log(path, LogQuery()) == b"one\ntwo\n" + b"x" * 200 + b"\nend"


async def test_a_query_narrows_and_dates_the_lines(tmp_path):
    """A query returns the last lines only, lines with times, or no lines for a time in the future."""
    path = log_path(tmp_path, "main", 0)
    await written(path, b"one\ntwo\nthree\n")
    assert read_log(path, LogQuery(tail_lines=2)) == b"two\nthree\n"
    assert read_log(path, LogQuery(tail_lines=0)) == b""
    assert read_log(path, LogQuery(limit_bytes=4)) == b"one\n"
    dated = read_log(path, LogQuery(tail_lines=1, timestamps=True)).decode()
    assert dated.endswith("Z three\n")
    assert read_log(path, LogQuery(since=LogQuery.since_seconds(-60))) == b""


async def test_following_ends_with_the_run_and_misses_nothing(tmp_path):
    """The follower gets existing lines, new lines, and then the end."""
    path = log_path(tmp_path, "main", 0)
    writer, ended, got = LogWriter(path), asyncio.Event(), []
    writer.write(b"before", "stdout")
    async for text in follow_log(path, LogQuery(), ended):
        got.append(text)
        if len(got) == 1:
            writer.write(b"after", "stderr")
            ended.set()
    writer.close()
    assert b"".join(got) == b"before\nafter\n"
