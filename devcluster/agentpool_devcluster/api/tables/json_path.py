"""The part of kubectl's JSONPath that printer columns use: fields, indexes, wildcards, simple filters."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"\.(?P<field>[A-Za-z_$][\w$/\x00-]*)"
    r"|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[(?P<index>-?\d+)\]"
    r"|(?P<wild>\[\*\]|\.\*)"
    r"|\[\?\(\s*@\.(?P<key>[\w.-]+)\s*(?P<op>==|!=)\s*(?P<value>\"[^\"]*\"|'[^']*'|[^)\s]+)\s*\)\]"
)


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    plain = path.replace("\\.", "\x00")
    found: list[re.Match[str]] = []
    position = 0
    while position < len(plain):
        match = _STEP.match(plain, position)
        if match is None:
            raise ValueError(f"JSONPath {path!r} has a part that is not understood: {plain[position:]!r}")
        found.append(match)
        position = match.end()
    return tuple(found)


def find(body: Any, path: str) -> list[Any]:
    """Return the values at a path, in order; none where the path leads nowhere.

    Raises ValueError if the path is not understood.
    """
    values = [body]
    for step in _steps(path):
        values = [found for value in values for found in _take(value, step)]
    return values


def _take(value: Any, step: re.Match[str]) -> list[Any]:
    field = step["field"] or step["quoted"]
    if field is not None:
        name = field.replace("\x00", ".")
        return [value[name]] if isinstance(value, dict) and name in value else []
    if step["wild"]:
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    wanted = _literal(step["value"])
    return [item for item in value if (_at(item, step["key"]) == wanted) == (step["op"] == "==")]


def _at(item: Any, key: str) -> Any:
    for name in key.split("."):
        item = item.get(name) if isinstance(item, dict) else None
    return item


def _literal(text: str) -> Any:
    if text[:1] in "\"'":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
