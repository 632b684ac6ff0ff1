"""Render stored objects in the requested form: JSON text, tables, or metadata alone."""

from __future__ import annotations

from agentpool_devcluster.api.http.negotiation import Form
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.operations.reads import Listing
from agentpool_devcluster.api.operations.versions import shown_as, text_of
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Stored, encode
from agentpool_devcluster.api.tables.printing import IncludeObject, table_of


def object_text(resource: Resource, stored: Stored, form: Form, include: IncludeObject) -> bytes:
    """Return the JSON text of an object in the requested form."""
    if form.shape == "Table":
        return encode(table_of(resource, [shown_as(resource, stored.body)], include, stored.version))
    if form.shape == "PartialObjectMetadata":
        return encode(metadata_only(stored.body, form.version))
    return text_of(resource, stored)


def metadata_only(body: Json, version: str) -> Json:
    """Return an object reduced to its metadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": body.get("metadata") or {},
    }


def list_text(resource: Resource, listing: Listing, form: Form, include: IncludeObject) -> bytes:
    """Return the JSON text of a list in the wanted form."""
    meta: Json = {"resourceVersion": str(listing.version)}
    if listing.token:
        meta["continue"] = listing.token
    if listing.remaining:
        meta["remainingItemCount"] = listing.remaining
    if form.shape == "Table":
        bodies = [shown_as(resource, stored.body) for stored in listing.items]
        return encode({**table_of(resource, bodies, include, listing.version), "metadata": meta})
    if form.shape == "PartialObjectMetadataList":
        head = {"kind": form.shape, "apiVersion": f"meta.k8s.io/{form.version}", "metadata": meta}
        items = b",".join(encode(metadata_only(stored.body, form.version)) for stored in listing.items)
    else:
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta}
        items = b",".join(_item_text(resource, stored) for stored in listing.items)
    return encode(head)[:-1] + b',"items":[' + items + b"]}"


def _item_text(resource: Resource, stored: Stored) -> bytes:
    """Return the text of a list item; items of built-in kinds omit the kind, as on a Kubernetes server."""
    if resource.is_custom:
        return text_of(resource, stored)
    body = shown_as(resource, stored.body)
    return encode({name: value for name, value in body.items() if name not in {"apiVersion", "kind"}})
