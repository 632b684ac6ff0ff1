"""Images on this node: names that stand for directories. Pure.

A container of a mapped image runs in that directory, with it first on PYTHONPATH; an unmapped image brings nothing,
so its container must name a command that this host has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENTRYPOINT = "entrypoint"  # an executable of this name in an image's directory is its default command


def directory_of(image: str, images: Mapping[str, Path]) -> Path | None:
    """The directory of an image, found by its full name, then without digest or tag; None where it is not mapped."""
    bare = image.partition("@")[0]
    head, colon, tag = bare.rpartition(":")
    untagged = head if colon and "/" not in tag else bare
    for name in (image, bare, untagged):
        if name in images:
            return images[name]
    return None


def unmapped_words(image: str) -> str:
    """What to say where an image's absence may be why a container fails."""
    return f'image "{image}" is not mapped on this node, so its files are missing; map it with --image {image}=DIR'


def entrypoint_of(directory: Path) -> str | None:
    """The image's default command; None where it has none."""
    path = directory / ENTRYPOINT
    return str(path) if path.is_file() and os.access(path, os.X_OK) else None
