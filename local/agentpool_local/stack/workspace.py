"""The temporary directory for all files of the started parts.

Removed at the end. A killed run cannot remove the directory, so each directory holds a lock while the owner lives, and
the next run removes directories with a free lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agentpool_core.errors import SettingError

if TYPE_CHECKING:
    from types import TracebackType

PREFIX = "agentpool-local-"
LOCK = "owner.lock"


class Workspace:
    """Temporary directory for the life of an owner, as a context manager."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        sweep(parent)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            raise SettingError(
                field="TMPDIR",
                value=str(parent),
                problem=f"no directory can be created there ({error.strerror})",
                remedy="set TMPDIR to a directory that you may write to",
            ) from error
        self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def directory(self, name: str) -> Path:
        """Return the subdirectory of that name; create a missing subdirectory."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def remove(self) -> None:
        """Remove the directory with all content; a second call changes nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: Path) -> list[Path]:
    """Remove the directories of killed runs of this user; return the removed paths."""
    swept = []
    for path in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # owned by a different user, or not locked yet
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # the owner lives
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
            swept.append(path)
        finally:
            os.close(lock)
    return swept
