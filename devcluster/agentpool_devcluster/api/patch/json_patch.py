"""JSON patch (RFC 6902): a list of operations, applied in order, all or nothing."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.errors import StatusError, bad_request
from agentpool_devcluster.api.objects import clone

_MAX_OPERATIONS = 10_000  # as on a real API server


def json_patch(target: Any, patch: Any) -> Any:
    """Return the target with all operations applied. Raises a 400 or 422 refusal if an operation fails."""
    if not isinstance(patch, list):
        raise bad_request("a JSON patch is a list of operations")
    if len(patch) > _MAX_OPERATIONS:
        raise bad_request(f"a JSON patch has at most {_MAX_OPERATIONS} operations, this one has {len(patch)}")
    document = clone(target)
    for operation in patch:
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
        raise bad_request(f"a JSON patch operation needs op and path: {operation!r}")
    kind, path = operation["op"], _pointer(operation["path"])
    if kind == "test":
        if _get(document, path) != operation.get("value"):
            raise _refused(f"testing value {operation['path']} failed")
        return document
    if kind == "remove":
        return _remove(document, path)
    if kind in ("add", "replace"):
        if kind == "replace":
            _get(document, path)
        return _put(document, path, clone(operation.get("value")), insert=kind == "add")
    if kind in ("move", "copy"):
        source = _pointer(operation.get("from", ""))
        value = clone(_get(document, source))
        if kind == "move":
            document = _remove(document, source)
        return _put(document, path, value, insert=True)
    raise bad_request(f"unexpected kind: {kind}: a JSON patch knows add, remove, replace, move, copy and test")


def _refused(why: str) -> StatusError:
    return StatusError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}")


def _pointer(text: Any) -> list[str]:
    if text == "":
        return []
    if not isinstance(text, str) or not text.startswith("/"):
        raise bad_request(f"a JSON pointer starts with a slash: {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _index(items: list[Any], part: str, *, inserting: bool = False) -> int:
    if part == "-" and inserting:
        return len(items)
    limit = len(items) + (1 if inserting else 0)
    if not part.isdigit() or int(part) >= limit:
        raise _refused(f"index {part} is out of bounds: the list has {len(items)} elements")
    return int(part)


def _get(document: Any, path: list[str]) -> Any:
    found = document
    for part in path:
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list):
            found = found[_index(found, part)]
        else:
            raise _refused(f"path /{'/'.join(path)} does not exist: no {part!r}")
    return found


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and insert:
        parent.insert(_index(parent, last, inserting=True), value)
    elif isinstance(parent, list):
        parent[_index(parent, last)] = value
    else:
        raise _refused(f"path /{'/'.join(path)} does not lead into an object or a list")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(parent, last)]
    else:
        raise _refused(f"path /{'/'.join(path)} does not exist: nothing to remove")
    return document
