"""Build a pod from a template, and the hash that names a template's revision. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import KubeObject, controller_reference, copy_of, name_of, namespace_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.kube.resources import Resource

TEMPLATE_HASH = "pod-template-hash"

# Letters and digits that cannot spell a word, as Kubernetes uses in generated names.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10  # characters


def pod_from_template(template: Mapping[str, Any], owner: KubeObject, resource: Resource) -> KubeObject:
    """Return the pod that `owner` creates from its template; the server makes the name unique."""
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name_of(owner)}-",
            "namespace": namespace_of(owner),
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "finalizers": list(metadata.get("finalizers") or ()),
            "ownerReferences": [controller_reference(owner, resource)],
        },
        "spec": copy_of(template.get("spec") or {}),
    }


def without_hash(template: Mapping[str, Any]) -> KubeObject:
    """Return the template without the label that a Deployment adds to distinguish its revisions."""
    bare = copy_of(template)
    labels = (bare.get("metadata") or {}).get("labels")
    if labels:
        labels.pop(TEMPLATE_HASH, None)
    return bare


def same_template(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Return whether two templates make the same pods."""
    return _canonical(without_hash(left)) == _canonical(without_hash(right))


def template_hash(template: Mapping[str, Any], collisions: int) -> str:
    """Return a short name for the template's content; `collisions` counts earlier clashes."""
    text = f"{_canonical(without_hash(template))}/{collisions or ''}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = []
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def _canonical(template: Mapping[str, Any]) -> str:
    return json.dumps(_without_empty(template), sort_keys=True, separators=(",", ":"))


def _without_empty(value: Any) -> Any:
    """Return the value without nulls and empty maps or lists, which servers add and drop freely."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value
