"""The state of a local system that the next start finds again, in the directory of `--state`.

Redis's data, the kubeconfig, and a file for each value: secrets, ports, and the uid by which clients recognise the
cluster. A lock refuses a second system on the same directory. Without a directory every value is new.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agentpool_core.errors import SettingError
from agentpool_local.stack.redis_server import free_port, is_free

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LOCK = "owner.lock"
PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600


class KeptState:
    """Values of the last start, or new ones; a context manager that holds the directory."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self._lock = -1

    def __enter__(self) -> Self:
        """Take the directory. Raises SettingError for an unusable directory, or one that a running system has."""
        if self.directory is None:
            return self
        try:
            self.directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self._lock = os.open(self.directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
        except OSError as error:
            remedy = "name a directory that you may write to"
            raise self._refused(error.strerror or "it is unusable", remedy) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise self._refused(
                "a running agentpool dev uses it", "stop that one, or name another directory"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock >= 0:
            os.close(self._lock)

    def value(self, name: str, make: Callable[[], str]) -> str:
        """Return the value of the last start; without one, make and keep it."""
        if self.directory is None:
            return make()
        path = self.directory / name
        if path.is_file() and (text := path.read_text(encoding="utf-8")):
            return text
        return self._keep(path, make())

    def port(self, name: str) -> int:
        """Return the port of the last start if it is still free, else a free one."""
        if self.directory is None:
            return free_port()
        text = self.value(name, lambda: str(free_port()))
        if text.isdigit() and is_free(int(text)):
            return int(text)
        return int(self._keep(self.directory / name, str(free_port())))

    def _keep(self, path: Path, text: str) -> str:
        path.touch(mode=PRIVATE_FILE)
        path.write_text(text, encoding="utf-8")
        return text

    def _refused(self, problem: str, remedy: str) -> SettingError:
        return SettingError(field="--state", value=str(self.directory), problem=problem, remedy=remedy)
