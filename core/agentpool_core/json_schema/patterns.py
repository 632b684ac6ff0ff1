"""The weight of a pattern: its parts, with counted repetitions written out. Pure.

The regular expressions of the schema library run in linear time, and the time for a character grows with this weight.
"""

from __future__ import annotations

import re

_PART = re.compile(
    r"""\{(?P<least>\d*)(?:,(?P<most>\d*))?\}  # a counted repetition of the part before it
    | \\[pP]\{[^}]*\} | \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | .""",
    re.DOTALL | re.VERBOSE,
)
_MOST_DIGITS = 6


def weight_of(pattern: str) -> int:
    """Return the number of parts; a repetition `{n,m}` counts what it repeats as often as it may have to."""
    groups, last = [0], 0  # the weight of each open group, and of the latest part
    for part in _PART.finditer(pattern):
        if part["least"] is not None:
            times = max(int((number or "1")[:_MOST_DIGITS]) for number in part.group("least", "most"))
            groups[-1] += last * max(0, times - 1)
            last *= max(1, times)
        elif part[0] == "(":
            groups.append(0)
        elif part[0] == ")" and len(groups) > 1:
            last = groups.pop() + 1
            groups[-1] += last
        else:
            last = 1
            groups[-1] += 1
    return max(len(pattern), sum(groups))
