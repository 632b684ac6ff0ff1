"""Images on this node: names that stand for directories. Pure.

A container of a mapped image runs in that directory, which comes first on PYTHONPATH; an unmapped image has no files,
so the container must name a command that this host has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agentpool_devcluster.node.errors import ContainerConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = TypeVar("Place")
IMAGES_NAMESPACE = "kube-system"  # its ConfigMaps with `image` and `directory` map images while the cluster runs
_SHOWN_CHARS = 300  # of a directory in a message
ENTRYPOINT = "entrypoint"  # name of the default command in an image's directory


def directory_of(image: str, images: Mapping[str, Place]) -> Place | None:
    """Return the place of an image, by full name, then without digest or tag; None if not mapped."""
    bare = image.partition("@")[0]
    head, colon, tag = bare.rpartition(":")
    untagged = head if colon and "/" not in tag else bare
    for name in (image, bare, untagged):
        if name in images:
            return images[name]
    return None


def existing_directory(text: str, config_map: str) -> Path:
    """Return a mapped directory. Raises ContainerConfigError if there is none."""
    path = Path(text)
    if not (path.is_absolute() and os.path.isdir(text)):  # noqa: PTH112 - Path.is_dir raises for a name too long
        named = f'configmap "{config_map}" in {IMAGES_NAMESPACE}'
        problem = f"{named}: directory {text[:_SHOWN_CHARS]!r} is no existing, absolute path"
        raise ContainerConfigError("ErrImagePull", problem)
    return path


def mapping_words(image: str) -> str:
    """Return how to map an image, now or at the next start."""
    return (
        f"map it with --image {image}=DIR, or now with: kubectl -n {IMAGES_NAMESPACE} create configmap NAME "
        f"--from-literal=image={image} --from-literal=directory=/absolute/DIR"
    )


def unmapped_words(image: str) -> str:
    """Return the hint for a failure that a missing image may explain."""
    return f'image "{image}" is not mapped on this node, so its files are missing; map it with --image {image}=DIR'


def entrypoint_of(directory: Path) -> str | None:
    """Return the image's default command, or None."""
    path = directory / ENTRYPOINT
    return str(path) if path.is_file() and os.access(path, os.X_OK) else None
