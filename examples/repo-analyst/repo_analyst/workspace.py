"""The directory that an agent may read, and nothing outside.

Every path of a tool goes through `Workspace.resolve`, so neither `..` nor a link leads out. Files that are not text, or
larger than the limit, are refused by name. `tools` builds the agent's tools on this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FILE_BYTES = 512 * 1024
SNIFFED_BYTES = 4096  # read to detect binary files: a NUL byte means binary, as in git

# Directories of generated files.
SKIPPED_DIRECTORIES = frozenset({"node_modules", "__pycache__", "build", "dist", "target", "venv", "site-packages"})


class WorkspaceError(Exception):
    """A path that cannot be read; the message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """A read-only view of a directory."""

    root: Path  # absolute, without links

    @classmethod
    def at(cls, root: str) -> Workspace:
        """Open a directory. Raises WorkspaceError if the directory does not exist here."""
        path = Path(root).resolve()
        if not path.is_dir():
            raise WorkspaceError(f"the input directory {root} is not on this machine: mount it into the worker's pod")
        return cls(root=path)

    def resolve(self, path: str) -> Path:
        """Return a path's location on disk. Raises WorkspaceError if the path leads out of the workspace."""
        place = (self.root / path).resolve()
        if not place.is_relative_to(self.root):
            raise WorkspaceError(f"{path} lies outside the input directory")
        return place

    def read(self, path: str) -> str:
        """Read a text file. Raises WorkspaceError if missing, binary, unreadable or too large."""
        place = self.resolve(path)
        try:
            if place.stat().st_size > LARGEST_FILE_BYTES:
                raise WorkspaceError(f"{path} is larger than {LARGEST_FILE_BYTES} bytes")
            content = place.read_bytes()
        except OSError as error:
            raise WorkspaceError(f"{path} cannot be read: {error.strerror}") from error
        if b"\0" in content[:SNIFFED_BYTES]:
            raise WorkspaceError(f"{path} is not text")
        return content.decode("utf-8", errors="replace")

    def entries(self, path: str) -> list[str]:
        """List a directory, sorted, directories with a trailing slash.

        Raises WorkspaceError if the path is not a directory.
        """
        place = self.resolve(path)
        try:
            with os.scandir(place) as found:
                return sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in found)
        except OSError as error:
            raise WorkspaceError(f"{path} cannot be listed: {error.strerror}") from error

    def files(self) -> Iterator[str]:
        """Walk every file that people wrote, in a fixed order, as paths relative to the root."""
        for directory, names, files in os.walk(self.root):
            names[:] = sorted(name for name in names if name[0] != "." and name not in SKIPPED_DIRECTORIES)
            for file in sorted(files):
                yield str((Path(directory) / file).relative_to(self.root))
