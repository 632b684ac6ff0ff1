"""The verdict on streams of tokens: lost, doubled and out of order, for each run. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as a reader got it."""

    run: int  # of the handler
    number: int  # within the run, from 1
    part: int  # the step that emitted the token
    place: int  # within the part, from 0
    delay_s: float  # from just before the emit
    live: bool = True  # emitted while the reader was connected
    at: float = 0.0  # time of `time.monotonic()` at which the reader got it


def faults(
    read: Sequence[Token], acknowledged: Mapping[int, int], *, parts: int, tokens: int, ended: bool
) -> Counter[str]:
    """Count the faults of one job's stream.

    `acknowledged`: tokens of each run whose emit has returned. A job that has `ended` has every part of `tokens`
    tokens, in the latest run that emitted the part.
    """
    found: Counter[str] = Counter()
    runs: dict[int, list[int]] = defaultdict(list)
    for token in read:
        runs[token.run].append(token.number)
    for numbers in runs.values():
        counted = Counter(numbers)
        found["doubled"] += len(numbers) - len(counted)
        found["lost"] += max(numbers) - len(counted)
        first = list(dict.fromkeys(numbers))
        found["out of order"] += sum(after < before for before, after in pairwise(first))
    found["lost"] += sum(max(0, count - max(runs[run], default=0)) for run, count in acknowledged.items())
    found["out of order"] += sum(b.run < a.run for a, b in pairwise(read))
    if ended:
        found["lost"] += sum(max(0, tokens - len(part)) for part in latest(read, parts))
    return +found


def latest(read: Sequence[Token], parts: int) -> list[list[int]]:
    """Return the places of each part in the latest run that emitted it: the output without repetitions."""
    runs = {token.part: token.run for token in read}
    return [[t.place for t in read if t.part == part and t.run == runs.get(part)] for part in range(parts)]
