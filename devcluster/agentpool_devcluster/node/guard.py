"""The node's shadow: a tiny program that ends what the node leaves behind when it is killed.

It reads `+PGID` and `-PGID` lines on its standard input. When that ends, for whatever reason, it kills every process
group still noted and removes the node's state directory. Run as a script, on the standard library alone, so that it
starts in milliseconds. The node side is `guardian`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Watch over the groups named on standard input, until it ends."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        sign, number = line[:1], int(line[1:])
        if sign == b"+":
            groups.add(number)
        else:
            groups.discard(number)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    with contextlib.suppress(OSError):  # the cluster's own directory, once the last of its nodes is gone
        os.rmdir(os.path.dirname(sys.argv[1]))  # noqa: PTH106, PTH120 - spares the start of this program pathlib


if __name__ == "__main__":
    main()
