"""A node in the form of the command line: `NAME[,cpu=4,nvidia.com/gpu=2,label:k=v,taint:k=v:Effect]`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agentpool_devcluster.kube.quantity import parse_quantity
from agentpool_devcluster.node.errors import NodeSetupError
from agentpool_devcluster.node.settings import NodeSettings, Taint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORM = "NAME[,RESOURCE=QUANTITY][,label:KEY=VALUE][,taint:KEY=VALUE:EFFECT]…"

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
_EFFECTS = frozenset({"NoSchedule", "PreferNoSchedule", "NoExecute"})


def parse_node(text: str, *, state_dir: Path, images: Mapping[str, Path]) -> NodeSettings:
    """Return the settings in `text`. Raises NodeSetupError naming the part that cannot be read."""
    name, *parts = text.split(",")
    if not _NAME.match(name):
        raise NodeSetupError(f"node {text!r}: {name!r} is no node name; use lower-case letters, digits and dashes")
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}
    taints: list[Taint] = []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise NodeSetupError(f"node {text!r}: {part!r} has no '='; write {FORM}")
        if key.startswith("label:"):
            labels[key.removeprefix("label:")] = value
        elif key.startswith("taint:"):
            taints.append(_taint(text, key.removeprefix("taint:"), value))
        else:
            resources[key] = _quantity(text, key, value)
    return NodeSettings(
        name=name, state_dir=state_dir / name, resources=resources, labels=labels, taints=tuple(taints), images=images
    )


def _taint(text: str, key: str, rest: str) -> Taint:
    value, _, effect = rest.rpartition(":")
    if effect not in _EFFECTS:
        wanted = ", ".join(sorted(_EFFECTS))
        raise NodeSetupError(f"node {text!r}: taint {key!r} has effect {effect!r}; use one of {wanted}")
    return Taint(key=key, value=value, effect=effect)


def _quantity(text: str, resource: str, value: str) -> str:
    try:
        parse_quantity(value)
    except ValueError as error:
        raise NodeSetupError(f"node {text!r}: {resource}: {error}") from error
    return value
