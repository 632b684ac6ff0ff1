"""Read request bodies: JSON or YAML, with the fields that are given twice; protobuf is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from agentpool_devcluster.api.errors import bad_request, unsupported_media_type

MAX_BODY_BYTES = 3 * 1024 * 1024  # as on a real API server
_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "application/apply-patch+yaml")
_JSON = ("application/json", "application/json-patch+json", "application/merge-patch+json",
         "application/strategic-merge-patch+json", "text/plain", "")  # fmt: skip
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def media_type_of(content_type: str) -> str:
    """Return the bare media type of a Content-Type header."""
    return content_type.partition(";")[0].strip().lower()


def decode(text: bytes, content_type: str) -> Any:
    """Return the body's value; None for an empty body. Raises 400 or 415 refusals."""
    media_type = media_type_of(content_type)
    if not text.strip():
        return None
    if media_type in _YAML:
        return _decode_yaml(text)
    if media_type not in _JSON:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format ({media_type}) - accepted media types include: "
            "application/json, application/yaml"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _decode_yaml(text: bytes) -> Any:
    try:
        return json.loads(text)  # most YAML bodies are JSON
    except ValueError:
        pass
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - the safe loader, in C where there is one
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {' '.join(str(error).split())}") from error


def duplicates(text: bytes, content_type: str) -> tuple[str, ...]:
    """Return the paths of the fields that a body gives more than once."""
    if media_type_of(content_type) in _YAML:
        try:
            node = yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError:
            return ()
        return tuple(_yaml_duplicates(node, ""))
    try:
        found = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return ()
    return tuple(_json_duplicates(found, ""))


class _Pairs(list[tuple[str, Any]]):
    """The fields of a JSON object as they were written."""


def _json_duplicates(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, item in value:
            place = f"{path}.{name}" if path else name
            if name in seen:
                yield place
            seen.add(name)
            yield from _json_duplicates(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _json_duplicates(item, f"{path}[{index}]")


def _yaml_duplicates(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            place = f"{path}.{key.value}" if path else str(key.value)
            if key.value in seen:
                yield place
            seen.add(key.value)
            yield from _yaml_duplicates(item, place)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _yaml_duplicates(item, f"{path}[{index}]")
