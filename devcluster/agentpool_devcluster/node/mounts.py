"""Directories of a container by mount path, and the command that mounts them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.node import mounter
from agentpool_devcluster.node.errors import ContainerConfigError
from agentpool_devcluster.node.expansion import expand
from agentpool_devcluster.node.restrictions import wanted_mounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A volume, or part of a volume, in a container."""

    source: Path  # directory or file of the node
    target: PurePosixPath  # path in the container
    read_only: bool


@cache
def mounts_supported() -> bool:
    """Return whether this host can show volumes at their mount paths: Linux, with mount namespaces allowed."""
    if sys.platform != "linux":
        return False
    probe = [sys.executable, "-I", "-S", mounter.__file__, "[]", "[]", "/", "/", "true"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def plan_mounts(
    container: Mapping[str, Any], volumes: Mapping[str, Path], values: Mapping[str, str]
) -> tuple[Mount, ...]:
    """Return the container's mounts, outer paths first. Raises ContainerConfigError for an unknown volume."""
    planned: list[Mount] = []
    for wanted in wanted_mounts(container):
        source = volumes.get(wanted["name"])
        if source is None:
            raise ContainerConfigError("CreateContainerConfigError", f"no volume {wanted['name']!r} in the pod")
        part = wanted.get("subPath") or expand(str(wanted.get("subPathExpr") or ""), values)
        if part:
            source = _part_of(source, part)
        target = PurePosixPath(wanted["mountPath"])
        planned.append(Mount(source=source, target=target, read_only=bool(wanted.get("readOnly"))))
    return tuple(sorted(planned, key=lambda mount: len(mount.target.parts)))


def mounting_command(mounts: Sequence[Mount], staging: Path, directory: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` in `directory` with the mounts in place."""
    listed = json.dumps([[str(mount.source), str(mount.target), mount.read_only] for mount in mounts])
    image = json.dumps(_image(directory))
    return [sys.executable, "-I", "-S", mounter.__file__, listed, image, str(staging), directory, *command]


def _image(directory: str) -> list[str]:
    """Return the directories of every image: its own, and those of this interpreter, outer paths first."""
    places = {directory, sys.prefix, sys.base_prefix, *sys.path}
    return sorted((place for place in places if place and Path(place).is_dir()), key=len)


def _part_of(source: Path, part: str) -> Path:
    """Return the file or directory `part` of a volume; create a missing directory."""
    relative = PurePosixPath(part)
    if relative.is_absolute() or ".." in relative.parts:
        raise ContainerConfigError("CreateContainerConfigError", f"subPath {part!r} leads out of its volume")
    found = source / relative
    if not found.exists():
        found.mkdir(parents=True)
    return found
