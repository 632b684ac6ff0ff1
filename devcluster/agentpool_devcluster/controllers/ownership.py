"""Objects of a controller: adopt orphans that the selector matches, release objects that it no longer matches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.errors import InvalidError, NotFoundError
from agentpool_devcluster.kube.objects import (
    KubeObject,
    ObjectKey,
    controller_of,
    controller_reference,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from agentpool_devcluster.kube.selectors import is_empty, label_selector_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.resources import Resource


def owner_key(obj: Mapping[str, Any], kind: str) -> ObjectKey | None:
    """Return the key of the object's controller if the controller is of the given kind."""
    reference = controller_of(obj)
    if reference is None or reference.get("kind") != kind:
        return None
    return ObjectKey(namespace_of(obj), str(reference["name"]))


async def claim(
    client: KubeClient,
    owner: KubeObject,
    owner_resource: Resource,
    candidates: Iterable[KubeObject],
    resource: Resource,
) -> list[KubeObject]:
    """Return the candidates that belong to `owner` after adopting and releasing."""
    selector = owner["spec"].get("selector")
    owned: list[KubeObject] = []
    for candidate in candidates:
        reference = controller_of(candidate)
        meant = not is_empty(selector) and label_selector_matches(selector, labels_of(candidate))
        if reference is not None:
            if reference.get("uid") != uid_of(owner):
                continue
            if meant or is_terminating(owner):
                owned.append(candidate)
            else:
                await _release(client, owner, candidate, resource)
        elif meant and not is_terminating(owner) and not is_terminating(candidate):
            adopted = await _adopt(client, controller_reference(owner, owner_resource), candidate, resource)
            owned += [adopted] if adopted else []
    return owned


async def _adopt(
    client: KubeClient, reference: Mapping[str, Any], orphan: KubeObject, resource: Resource
) -> KubeObject | None:
    references = [*(orphan["metadata"].get("ownerReferences") or []), dict(reference)]
    return await _write_owners(client, orphan, resource, references)


async def _release(client: KubeClient, owner: KubeObject, obj: KubeObject, resource: Resource) -> None:
    references = [ref for ref in obj["metadata"]["ownerReferences"] if ref.get("uid") != uid_of(owner)]
    await _write_owners(client, obj, resource, references)


async def _write_owners(
    client: KubeClient, obj: KubeObject, resource: Resource, references: list[dict[str, Any]]
) -> KubeObject | None:
    metadata = {
        "uid": uid_of(obj),
        "resourceVersion": obj["metadata"].get("resourceVersion"),
        "ownerReferences": references,
    }
    try:
        return await client.patch(resource, namespace_of(obj), name_of(obj), {"metadata": metadata})
    except (NotFoundError, InvalidError):
        return None  # gone or replaced: the next pass decides
