"""Conversion between the requested version and the storage version.

Custom versions differ in apiVersion only (conversion strategy None). Events are the only built-in resource with two
forms: stored as core/v1 and shown to events.k8s.io/v1 clients with renamed fields.
"""

from __future__ import annotations

from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Stored

_EVENT_FIELDS = {  # core/v1 -> events.k8s.io/v1
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_CORE_FIELDS = {new: old for old, new in _EVENT_FIELDS.items()}


def shown_as(resource: Resource, body: Json) -> Json:
    """Return a stored object in the resource's version; the stored object is not changed."""
    if body.get("apiVersion") == resource.api_version:
        return body
    renamed = _renamed(body, _EVENT_FIELDS) if resource.group == "events.k8s.io" else dict(body)
    return {**renamed, "apiVersion": resource.api_version}


def stored_from(resource: Resource, body: Json) -> Json:
    """Return an object of the resource's version in the storage version."""
    if body.get("apiVersion") == resource.stored_as:
        return body
    renamed = _renamed(body, _CORE_FIELDS) if resource.group == "events.k8s.io" else dict(body)
    return {**renamed, "apiVersion": resource.stored_as}


def _renamed(body: Json, names: dict[str, str]) -> Json:
    return {names.get(name, name): value for name, value in body.items()}


def text_of(resource: Resource, stored: Stored) -> bytes:
    """Return the JSON text of a stored object in the resource's version."""
    if stored.body.get("apiVersion") == resource.api_version:
        return stored.text
    return Stored(shown_as(resource, stored.body), stored.version).text
