"""Merge the output of several programs: each line under the name of its program, coloured on a terminal.

During the start the lines are held: an error quotes the part that died, and the output of other parts would only hide
that error. The log of a part can be left out altogether.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Collection

COLOURS = {"redis": 31, "devcluster": 34, "operator": 35, "gateway": 36}  # ANSI foreground codes
WIDTH = max(map(len, COLOURS))


class Labels:
    """Writes labelled lines to a stream, once released; never those of the programs in `muted`."""

    def __init__(self, stream: TextIO, *, muted: Collection[str] = ()) -> None:
        self._stream = stream
        self._muted = muted
        self._held: list[str] | None = []  # None: released
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """Write a line of the program `name`, or hold it until `release`."""
        if name in self._muted:
            return
        label = f"{name:<{WIDTH}} |"
        if self._coloured:
            label = f"\x1b[{COLOURS.get(name, 0)}m{label}\x1b[0m"
        self._write(f"{label} {text}\n")

    def release(self) -> None:
        """Write the held lines, and hold nothing from now on; a second call changes nothing."""
        held, self._held = self._held, None
        for line in held or ():
            self._write(line)

    def _write(self, line: str) -> None:
        if self._held is not None:
            self._held.append(line)
            return
        self._stream.write(line)
        self._stream.flush()
