"""A pod's volumes as directories of the node: emptyDir, configMap, secret, downwardAPI, projected, hostPath.

Volumes are filled once, before the first container starts; later changes of a config map do not reach a running pod.
`restrictions` refuses all unsupported kinds earlier.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_devcluster.node.environment import Reference, data_of
from agentpool_devcluster.node.errors import VolumeError
from agentpool_devcluster.node.fields import PodPlace, pod_field, resource_field
from agentpool_devcluster.node.restrictions import is_default_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Files = dict[str, tuple[bytes, int]]
"""File contents and modes by relative path."""

DEFAULT_MODE = 0o644


class VolumeSources(Protocol):
    """Where volumes get their content from."""

    async def fetch(self, reference: Reference) -> Mapping[str, Any] | None:
        """Return a config map or secret of the pod's namespace; None if absent."""
        ...

    async def token(self, projection: Mapping[str, Any]) -> str:
        """Return a token of the pod's service account. Raises VolumeError where the server issues none."""
        ...


async def fill_volumes(
    pod: Mapping[str, Any], place: PodPlace, folder: Path, sources: VolumeSources
) -> dict[str, Path]:
    """Make every volume of the pod under `folder`; returns the directory of each. Raises VolumeError."""
    made: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        name = str(volume["name"])
        if is_default_token(volume):
            continue
        if "hostPath" in volume:
            made[name] = Path(volume["hostPath"]["path"])
            continue
        directory = folder / name
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        try:
            files = await _files_of(volume, pod, place, sources)
        except VolumeError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        _write(directory, files)
        made[name] = directory
    return made


async def _files_of(
    volume: Mapping[str, Any], pod: Mapping[str, Any], place: PodPlace, sources: VolumeSources
) -> Files:
    if "projected" in volume:
        files: Files = {}
        mode = volume["projected"].get("defaultMode")
        for projection in volume["projected"].get("sources") or ():
            files |= await _projected(projection, pod, place, sources, mode)
        return files
    if "configMap" in volume:
        return await _keys("ConfigMap", "name", volume["configMap"], sources, None)
    if "secret" in volume:
        return await _keys("Secret", "secretName", volume["secret"], sources, None)
    if "downwardAPI" in volume:
        return dict(_downward(volume["downwardAPI"], pod, place, None))
    return {}


async def _projected(
    projection: Mapping[str, Any],
    pod: Mapping[str, Any],
    place: PodPlace,
    sources: VolumeSources,
    mode: int | None,
) -> Files:
    if "configMap" in projection:
        return await _keys("ConfigMap", "name", projection["configMap"], sources, mode)
    if "secret" in projection:
        return await _keys("Secret", "name", projection["secret"], sources, mode)
    if "downwardAPI" in projection:
        return dict(_downward(projection["downwardAPI"], pod, place, mode))
    wanted = projection["serviceAccountToken"]
    token = await sources.token(wanted)
    return {str(wanted["path"]): (token.encode(), mode or DEFAULT_MODE)}


async def _keys(
    kind: str, name_field: str, source: Mapping[str, Any], sources: VolumeSources, mode: int | None
) -> Files:
    reference = Reference(kind, source[name_field])
    obj = await sources.fetch(reference)
    if obj is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'{kind.lower()} "{reference.name}" not found')
    data = data_of(reference, obj)
    mode = source.get("defaultMode") or mode or DEFAULT_MODE
    items = source.get("items")
    if items is None:
        return {key: (content, mode) for key, content in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[str(item["path"])] = (data[item["key"]], item.get("mode") or mode)
        elif not source.get("optional"):
            raise VolumeError(f'{kind.lower()} "{reference.name}" has no key "{item["key"]}"')
    return files


def _downward(
    source: Mapping[str, Any], pod: Mapping[str, Any], place: PodPlace, mode: int | None
) -> Iterator[tuple[str, tuple[bytes, int]]]:
    for item in source.get("items") or ():
        if "fieldRef" in item:
            text = pod_field(str(item["fieldRef"]["fieldPath"]), pod, place)
        else:
            text = resource_field(item["resourceFieldRef"], pod["spec"]["containers"][0], pod, place)
        chosen = item.get("mode") or source.get("defaultMode") or mode or DEFAULT_MODE
        yield str(item["path"]), (text.encode(), chosen)


def _write(directory: Path, files: Files) -> None:
    for name, (content, mode) in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise VolumeError(f"path {name!r} leads out of its volume")
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
