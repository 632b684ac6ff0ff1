"""Standard streams of a command in any environment: closed, full, or with an unusual encoding.

A caller may close a stream, write to a full disk, or use a locale that cannot encode a name in a payload. None of these
is a fault of the program, so none may end in a traceback. `agentpool_core.cli.root` uses this around every command.
"""

from __future__ import annotations

import errno
import io
import os
import sys

# Writes that cannot succeed. EPIPE is not among them: click ends quietly when the reader has gone.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare() -> None:
    """Replace closed streams by empty streams; escape unencodable text, and refuse invalid input text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="strict" if name == "stdin" else "backslashreplace")


def takes_all_text() -> bool:
    """Return whether standard output can encode every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith(("utf-", "utf8"))


def is_unwritable(error: OSError) -> bool:
    """Return whether the error concerns an unwritable standard stream; an error of a file has its name."""
    return error.errno in _UNWRITABLE and error.filename is None


def discard_output() -> None:
    """Drop the buffered standard output, which Python would write again at exit."""
    empty = os.open(os.devnull, os.O_WRONLY)
    os.dup2(empty, sys.stdout.fileno())
    os.close(empty)
