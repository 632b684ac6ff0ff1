"""Input of the demo's agents: every hand-written file under a directory, each with its kind and priority.

The kind follows from the file's suffix: source is measured, prose summarised, everything else (settings, manifests,
data) reasoned about. The priority follows from the location, so that all three occur: top-level files first, tests
last. `session` submits a job for each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agentpool_core.errors import SettingError
from agentpool_core.jobs import Priority

LARGEST_FILE_BYTES = 256 * 1024
SNIFFED_BYTES = 4096  # read to detect binary files: a NUL byte means binary, as in git

# Directories that tools made, and the report that an earlier demo may have left.
SKIPPED_DIRECTORIES = frozenset({"node_modules", "__pycache__", "build", "dist", "target", "venv", "site-packages"})

SOURCE = frozenset(
    {
        ".py",
        ".lua",
        ".sh",
        ".js",
        ".ts",
        ".go",
        ".rs",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".java",
        ".rb",
        ".sql",
        ".css",
        ".html",
    }
)
PROSE = frozenset({".md", ".rst", ".txt", ".adoc"})
TESTS = frozenset({"test", "tests", "testing"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A file with its kind and priority."""

    path: str  # relative to the input directory, with forward slashes
    kind: str  # of job: code, text or reasoning
    priority: Priority


def find_documents(root: Path, *, leave_out: frozenset[Path] = frozenset()) -> tuple[Document, ...]:
    """Find the files under a directory, in a fixed order. Raises SettingError if there are none.

    Hidden directories, generated files, links, binary, empty and very large files are skipped, and so are the files in
    `leave_out` (absolute).
    """
    if not root.is_dir():
        raise SettingError(
            field="--input", value=str(root), problem="is not a directory", remedy="name a readable directory"
        )
    found = []
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name[0] != "." and name not in SKIPPED_DIRECTORIES)
        for file in sorted(files):
            path = Path(directory) / file
            if path not in leave_out and _is_readable_text(path):
                found.append(_document(path.relative_to(root)))
    if not found:
        raise SettingError(
            field="--input", value=str(root), problem="contains no text file", remedy="name a directory with text files"
        )
    return tuple(found)


def _document(path: Path) -> Document:
    suffix = path.suffix.lower()
    kind = "code" if suffix in SOURCE else "text" if suffix in PROSE else "reasoning"
    if len(path.parts) == 1:
        priority = Priority.CRITICAL
    elif TESTS.intersection(path.parts):
        priority = Priority.INFO
    else:
        priority = Priority.TASK
    return Document(path=path.as_posix(), kind=kind, priority=priority)


def _is_readable_text(path: Path) -> bool:
    try:
        if path.is_symlink() or not 0 < path.stat().st_size <= LARGEST_FILE_BYTES:
            return False
        with path.open("rb") as stream:
            return b"\0" not in stream.read(SNIFFED_BYTES)
    except OSError:
        return False
