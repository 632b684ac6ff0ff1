"""A tiny program that ends the processes of a killed node.

The guard reads `+PGID` and `-PGID` lines on standard input. At the end of input, for whatever reason, the guard kills
every remaining process group and removes the node's state directory. Run as a script, on the standard library alone,
for a start within milliseconds. The node side is `guardian`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Track the groups named on standard input, until end of input."""
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
    with contextlib.suppress(OSError):  # the cluster's directory, after its last node
        os.rmdir(os.path.dirname(sys.argv[1]))  # noqa: PTH106, PTH120 - spares the start of this program pathlib


if __name__ == "__main__":
    main()
