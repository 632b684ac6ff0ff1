"""The weight of a pattern: its parts, with counted repetitions written out. Pure.

The regular expressions of the schema library run in linear time, and the time for a character grows with this weight.
"""

from __future__ import annotations

import re

_ATOM = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_COUNTED = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_MOST_DIGITS = 6


def weight_of(pattern: str) -> int:
    """Return the number of parts; a repetition `{n,m}` counts what it repeats as often as it may have to."""
    groups, last, place = [0], 0, 0  # the weight of each open group, and of the part before this place
    while place < len(pattern):
        counted = _COUNTED.match(pattern, place)
        if counted:
            times = max(int(number[:_MOST_DIGITS]) for number in (counted[1] or "1", counted[2] or "0"))
            groups[-1] += last * max(0, times - 1)
            last *= max(1, times)
            place = counted.end()
            continue
        atom = _ATOM.match(pattern, place)
        place = atom.end() if atom else place + 1
        text = atom[0] if atom else ""
        if text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = groups.pop() + 1
            groups[-1] += last
        else:
            last = 1
            groups[-1] += 1
    return max(len(pattern), sum(groups))
