"""The output of a job as text for people: texts one after another, other values as a line of JSON each.

`agentpool stream` prints the output alone; `agentpool logs` prints it between the log lines.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agentpool_core.cli.output import say

if TYPE_CHECKING:
    from agentpool_core.queue.chunks import Chunk


class OutputText:
    """Prints chunks as they come, and knows whether the last line is still open."""

    def __init__(self) -> None:
        self._run = 0  # of the latest chunk; 0: none was printed
        self._is_open = False  # the last text has not ended its line

    def show(self, chunk: Chunk) -> None:
        """Print a chunk; a line marks the output of a further run, which may repeat chunks of an earlier one."""
        if self._run not in {0, chunk.run}:
            self.end_line()
            say(f"--- run again (attempt {chunk.attempt})")
        self._run = chunk.run
        if isinstance(chunk.value, str):
            say(chunk.value, nl=False)
            self._is_open = not chunk.value.endswith("\n") if chunk.value else self._is_open
        else:
            self.end_line()
            say(json.dumps(chunk.value, ensure_ascii=False))

    def end_line(self) -> None:
        """End an open line, so that other text begins a line of its own."""
        if self._is_open:
            say("")
            self._is_open = False
