"""Tables: the rows and columns that kubectl shows, for built-in and custom resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from agentpool_devcluster.api.objects import Json, metadata, parse_timestamp
from agentpool_devcluster.api.registry import Column, Resource
from agentpool_devcluster.api.tables.ages import age_of, duration_text
from agentpool_devcluster.api.tables.builtin import CELLS, Cell
from agentpool_devcluster.api.tables.json_path import find

IncludeObject = Literal["None", "Metadata", "Object"]
_NAME_HELP = "Name must be unique within a namespace."


def table_of(resource: Resource, bodies: Sequence[Json], include: IncludeObject, version: int) -> Json:
    """Return a table of objects."""
    cells = _cells(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(version)},
        "columnDefinitions": [_definition(cell) for cell in cells],
        "rows": [_row(cells, body, include) for body in bodies],
    }


def _definition(cell: Cell) -> Json:
    return {
        "name": cell.name,
        "type": cell.type,
        "format": "name" if cell.name == "Name" else "",
        "description": cell.description or (_NAME_HELP if cell.name == "Name" else cell.name),
        "priority": cell.priority,
    }


def _row(cells: Sequence[Cell], body: Json, include: IncludeObject) -> Json:
    row: Json = {"cells": [cell.value(body) for cell in cells]}
    if include == "Object":
        row["object"] = body
    elif include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata(body),
        }
    return row


def _name(body: Json) -> Any:
    return metadata(body).get("name", "")


_NAME = Cell("Name", _name)
_DEFAULT = (_NAME, Cell("Age", age_of))


def _cells(resource: Resource) -> Sequence[Cell]:
    if resource.columns is not None:
        return [_NAME, *(_custom(column) for column in resource.columns)]
    return CELLS.get((resource.group, resource.kind), _DEFAULT)


def _custom(column: Column) -> Cell:
    def value(body: Json) -> Any:
        found = find(body, column.json_path)
        if not found:
            return None
        first = found[0]
        if column.type == "date":
            moment = parse_timestamp(first)
            return duration_text(moment) if moment else "<invalid>" if first else None
        if column.type == "string":
            return ",".join(_plain(item) for item in found) if first is not None else None
        return first

    return Cell(
        column.name,
        value,
        type="string" if column.type == "date" else column.type,
        priority=column.priority,
        description=column.description,
    )


def _plain(value: Any) -> str:
    import json

    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
