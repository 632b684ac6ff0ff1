"""Choose the form of an answer from the Accept header: objects, tables or bare metadata, JSON or YAML.

Protobuf answers are not supported: clients that also accept JSON get JSON, the rest is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from agentpool_devcluster.api.errors import not_acceptable

Shape = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]
_JSON = ("application/json", "application/*", "*/*")
_YAML = ("application/yaml", "application/x-yaml")
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "Table": ("meta.k8s.io", ("v1", "v1beta1")),
    "PartialObjectMetadata": ("meta.k8s.io", ("v1", "v1beta1")),
    "PartialObjectMetadataList": ("meta.k8s.io", ("v1", "v1beta1")),
    "APIGroupDiscoveryList": ("apidiscovery.k8s.io", ("v2", "v2beta1")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an answer is to be written."""

    media_type: str = "application/json"  # application/json or application/yaml
    shape: Shape = ""  # form of objects; empty: unchanged
    version: str = ""  # version of the shape
    parameters: dict[str, str] = field(default_factory=dict, compare=False)  # of the chosen media type


PLAIN = Form()


@lru_cache(maxsize=256)
def choose(accept: str, shapes: tuple[Shape, ...]) -> Form:
    """Return the first media type of an Accept header that the server can produce.

    Raises a 406 refusal if there is none.
    """
    for offer in filter(None, (part.strip() for part in (accept or "*/*").split(","))):
        media_type, *rest = (piece.strip() for piece in offer.split(";"))
        parameters = dict(piece.split("=", 1) for piece in rest if "=" in piece)
        found = _form(media_type.lower(), parameters, shapes)
        if found is not None:
            return found
    raise not_acceptable(
        "only the following media types are accepted: application/json, application/yaml "
        f"(the request accepts: {accept})"
    )


def _form(media_type: str, parameters: dict[str, str], shapes: tuple[Shape, ...]) -> Form | None:
    if media_type not in (*_JSON, *_YAML):
        return None
    chosen = "application/yaml" if media_type in _YAML else "application/json"
    wanted = parameters.get("as", "")
    if not wanted:
        return Form(media_type=chosen, parameters=parameters)
    for shape in shapes:
        group, versions = _KNOWN[shape] if shape else ("", ())
        if shape == wanted and parameters.get("g") == group and parameters.get("v") in versions:
            return Form(media_type=chosen, shape=shape, version=parameters["v"], parameters=parameters)
    return None
