"""Shared resources of a pod's containers: addresses, folders, volumes, devices, sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.errors import ApiError, KubeError, NotFoundError
from agentpool_devcluster.kube.objects import KubeObject, name_of, namespace_of, uid_of
from agentpool_devcluster.kube.resources import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS
from agentpool_devcluster.node.errors import VolumeError
from agentpool_devcluster.node.images import IMAGES_NAMESPACE, directory_of, existing_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.events import EventRecorder
    from agentpool_devcluster.node.environment import Reference
    from agentpool_devcluster.node.fields import PodPlace
    from agentpool_devcluster.node.guardian import Guardian
    from agentpool_devcluster.node.settings import NodeSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeTools:
    """Shared tools of a node for all its pods."""

    settings: NodeSettings
    client: KubeClient
    events: EventRecorder
    guardian: Guardian
    web: aiohttp.ClientSession  # for probes and hooks


@dataclass(kw_only=True, slots=True)
class Surroundings:
    """Surroundings of a pod."""

    tools: NodeTools
    pod: KubeObject  # as last seen
    place: PodPlace
    folder: Path  # the pod's own, removed with the pod
    volumes: Mapping[str, Path] = field(default_factory=dict)  # directory by volume name
    devices: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)  # by container and resource

    @property
    def logs(self) -> Path:
        """Where the logs of the pod's containers lie."""
        return self.folder / "logs"

    def scratch(self, container: str) -> Path:
        """Return the working directory of a container without a mapped image."""
        return self.folder / "scratch" / container

    def make_folders(self) -> None:
        """Create the directories of every pod."""
        for directory in (self.logs, self.folder / "staging", self.folder / "volumes"):
            directory.mkdir(parents=True, exist_ok=True)

    async def fetch(self, reference: Reference) -> Mapping[str, Any] | None:
        """Return a config map or secret of the pod's namespace; None if absent. Raises VolumeError."""
        resource = SECRETS if reference.kind == "Secret" else CONFIG_MAPS
        try:
            return await self.tools.client.get(resource, namespace_of(self.pod), reference.name)
        except NotFoundError:
            return None
        except KubeError as error:
            raise VolumeError(f"{reference} cannot be read: {error}") from error

    async def image_directory(self, image: str) -> Path | None:
        """Return the directory of an image that a ConfigMap in kube-system maps; None if none does.

        Raises ContainerConfigError for a directory that is missing.
        """
        try:
            listed = await self.tools.client.list(CONFIG_MAPS, IMAGES_NAMESPACE)
        except ApiError:  # a node of a real cluster may not read them
            return None
        except KubeError as error:
            raise VolumeError(f"the ConfigMaps of {IMAGES_NAMESPACE} cannot be read: {error}") from error
        found = {name_of(each): each.get("data") or {} for each in listed["items"]}
        images = {data["image"]: name for name, data in found.items() if {"image", "directory"} <= set(data)}
        name = directory_of(image, images)
        return None if name is None else existing_directory(found[name]["directory"], name)

    async def token(self, projection: Mapping[str, Any]) -> str:
        """Return a token of the pod's service account. Raises VolumeError where the server issues none."""
        account = self.pod["spec"].get("serviceAccountName") or "default"
        audience = projection.get("audience")
        spec = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": int(projection.get("expirationSeconds") or 3600),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name_of(self.pod), "uid": uid_of(self.pod)},
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = await self.tools.client.create(
                SERVICE_ACCOUNTS, namespace_of(self.pod), body, name=account, subresource="token"
            )
        except ApiError as error:
            raise VolumeError(f"no token for service account {account!r}: {error}") from error
        return str(answer["status"]["token"])
