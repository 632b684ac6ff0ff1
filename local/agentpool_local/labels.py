"""Passes on what several programs say at once: each line under the name of who said it, coloured on a terminal."""

from __future__ import annotations

import os
from typing import TextIO

COLOURS = {"redis": 31, "devcluster": 34, "operator": 35}  # ANSI foreground codes
WIDTH = max(map(len, COLOURS))


class Labels:
    """Writes labelled lines to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """Write one line of the program `name`."""
        label = f"{name:<{WIDTH}} |"
        if self._coloured:
            label = f"\x1b[{COLOURS.get(name, 0)}m{label}\x1b[0m"
        self._stream.write(f"{label} {text}\n")
        self._stream.flush()
