"""The verdict on streams finds each fault, and none in a stream whose run was continued by a later run."""

from __future__ import annotations

import pytest

from bench.streams.reading import messages
from bench.streams.verdict import Token, faults
from bench.token_ledger import TokenLedger

GOOD = [(1, 1, 0, 0), (1, 2, 0, 1), (1, 3, 1, 0), (2, 1, 1, 0), (2, 2, 1, 1)]  # run, number, part, place
CASES = {
    "good": (GOOD, {1: 2, 2: 2}, {}),
    "a hole": ([*GOOD[:1], *GOOD[2:]], {}, {"lost": 2}),  # of the run, and of the finished part
    "a double": ([*GOOD[:2], *GOOD[1:]], {}, {"doubled": 1}),
    "a swap": ([GOOD[1], GOOD[0], *GOOD[2:]], {}, {"out of order": 1}),
    "an old run's late token": ([*GOOD[:2], *GOOD[3:], GOOD[2]], {}, {"out of order": 1, "lost": 1}),
    "an acknowledged token that nobody got": (GOOD, {1: 5, 2: 2}, {"lost": 2}),
    "an acknowledged run that nobody saw": (GOOD, {3: 1}, {"lost": 1}),
    "a part without its end": (GOOD[:-1], {}, {"lost": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_counted(case):
    """A fault is a hole, a double or a wrong order within a run, or an acknowledged token that no reader got."""
    read, acknowledged, expected = CASES[case]
    tokens = [Token(run=run, number=n, part=part, place=place, delay_s=0) for run, n, part, place in read]
    assert faults(tokens, acknowledged, parts=2, tokens=2, ended=True) == expected


def test_a_ledger_keeps_the_counts_of_each_run(tmp_path):
    """A second process sees the counts."""
    ledger = TokenLedger.create(tmp_path / "ledger", jobs=2)
    for run, count in ((1, 7), (3, 2)):
        ledger.mark(1, run, count)
    other = TokenLedger(tmp_path / "ledger")
    assert (other.acknowledged(0), other.acknowledged(1)) == ({}, {1: 7, 3: 2})
    ledger.close()
    other.close()


ANSWER = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"9\r\n: begun\n\n\r\n"
    b"1b\r\nevent: chunk\nid: 1-0\ndata: \r\n"
    b"5\r\n{}\n\ne\r\n"
    b"b\r\nvent: end\n\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
def test_a_reader_parses_an_answer_however_it_was_cut(size):
    """Chunks of the transfer coding and messages may begin and end anywhere in a block."""
    blocks = [(float(begin), ANSWER[begin : begin + size]) for begin in range(0, len(ANSWER), size)]
    found = list(messages(blocks))
    assert [message for _, message in found if message] == [
        {"event": "chunk", "id": "1-0", "data": "{}"},
        {"event": "end"},
    ]
    assert [at for at, _ in found] == sorted(at for at, _ in found)
