"""Prepare the launch of a container: image, environment, command, directory, mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.node.devices import device_environment
from agentpool_devcluster.node.environment import base_environment, command_of, environment, references
from agentpool_devcluster.node.errors import ContainerConfigError
from agentpool_devcluster.node.images import directory_of, entrypoint_of, mapping_words
from agentpool_devcluster.node.mounts import plan_mounts
from agentpool_devcluster.node.process import Launch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agentpool_devcluster.node.surroundings import Surroundings


async def prepare(container: Mapping[str, Any], surroundings: Surroundings) -> Launch:
    """Return the launch. Raises ContainerConfigError or VolumeError if it cannot be prepared (yet)."""
    image = str(container.get("image") or "")
    image_dir = directory_of(image, surroundings.tools.settings.images) or await surroundings.image_directory(image)
    words = _words(container, image, image_dir)
    sources = {reference: await surroundings.fetch(reference) for reference in references(container)}
    base = base_environment(surroundings.pod, image_dir)
    base |= device_environment(surroundings.devices.get(container["name"], {}))
    values = environment(container, surroundings.pod, surroundings.place, sources, base)
    return Launch(
        command=command_of(words, values),
        environment=values,
        directory=_directory(container, image_dir, surroundings),
        mounts=plan_mounts(container, surroundings.volumes, values),
        staging=surroundings.folder / "staging",
        has_image=image_dir is not None,
    )


def _words(container: Mapping[str, Any], image: str, image_dir: Path | None) -> Mapping[str, Any]:
    """Return the container's command and arguments, or the image's default command."""
    if container.get("command"):
        return container
    default = entrypoint_of(image_dir) if image_dir is not None else None
    if default is not None:
        return {"command": [default], "args": container.get("args")}
    if image_dir is None:
        raise ContainerConfigError(
            "ErrImagePull",
            f'image "{image}" is not mapped on this node, and the container names no command; '
            f"{mapping_words(image)}; or set the container's command",
        )
    raise ContainerConfigError(
        "CreateContainerError",
        f'image "{image}" is {image_dir}, which has no executable "entrypoint"; set the container\'s command',
    )


def _directory(container: Mapping[str, Any], image_dir: Path | None, surroundings: Surroundings) -> str:
    """Return the directory of the process: workingDir, else the image's directory, else scratch."""
    scratch = surroundings.scratch(container["name"])
    scratch.mkdir(parents=True, exist_ok=True)
    home = image_dir or scratch
    wanted = container.get("workingDir")
    return str(home / wanted) if wanted else str(home)
