"""A container's environment, from the spec and the referenced config maps and secrets. Pure.

The caller asks `references`, fetches those objects, and passes them to `environment`.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentpool_devcluster.kube.objects import name_of
from agentpool_devcluster.node.errors import ContainerConfigError
from agentpool_devcluster.node.expansion import expand
from agentpool_devcluster.node.fields import PodPlace, pod_field, resource_field

# Variables of this host that a process needs to run; a container gets no further variables of the node.
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A config map or secret that a spec refers to."""

    kind: str  # ConfigMap or Secret
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.name!r}"


Sources = Mapping[Reference, Mapping[str, Any] | None]
"""The objects referred to, None where there is none of that name."""


def references(container: Mapping[str, Any]) -> set[Reference]:
    """Return the config maps and secrets that the container's environment needs."""
    found: set[Reference] = set()
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        found |= {Reference(kind, source[field]["name"]) for field, kind in _KEY_FIELDS.items() if field in source}
    for source in container.get("envFrom") or ():
        found |= {Reference(kind, source[field]["name"]) for field, kind in _ALL_FIELDS.items() if field in source}
    return found


_KEY_FIELDS = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
_ALL_FIELDS = {"configMapRef": "ConfigMap", "secretRef": "Secret"}


def base_environment(pod: Mapping[str, Any], image_dir: Path | None) -> dict[str, str]:
    """Return the variables of every container: PATH with this interpreter's programs first, and PYTHONPATH."""
    values = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", _DEFAULT_PATH)])
    values["HOSTNAME"] = str(pod["spec"].get("hostname") or name_of(pod))
    if image_dir is not None:
        values["PYTHONPATH"] = str(image_dir)
    return values


def environment(
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    place: PodPlace,
    sources: Sources,
    base: Mapping[str, str],
) -> dict[str, str]:
    """Return the variables of a container. Raises ContainerConfigError if a required reference is missing."""
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values.update(_all_of(source, sources))
    for variable in container.get("env") or ():
        name = str(variable["name"])
        if variable.get("valueFrom"):
            value = _value_from(variable["valueFrom"], container, pod, place, sources)
            if value is not None:
                values[name] = value
        else:
            values[name] = expand(str(variable.get("value") or ""), values)
    merged = {**base, **values}
    if "PYTHONPATH" in base and "PYTHONPATH" in values:
        merged["PYTHONPATH"] = os.pathsep.join([base["PYTHONPATH"], values["PYTHONPATH"]])
    return merged


def command_of(container: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
    """Return the container's command and arguments with references expanded; empty if not set."""
    words: Sequence[str] = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(str(word), values) for word in words]


def data_of(reference: Reference, obj: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the content of a config map or secret."""
    if reference.kind == "Secret":
        return {name: base64.b64decode(value) for name, value in (obj.get("data") or {}).items()}
    plain = {name: str(value).encode() for name, value in (obj.get("data") or {}).items()}
    return plain | {name: base64.b64decode(value) for name, value in (obj.get("binaryData") or {}).items()}


def _value_from(
    source: Mapping[str, Any],
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    place: PodPlace,
    sources: Sources,
) -> str | None:
    if "fieldRef" in source:
        return pod_field(str(source["fieldRef"]["fieldPath"]), pod, place)
    if "resourceFieldRef" in source:
        return resource_field(source["resourceFieldRef"], container, pod, place)
    for field, kind in _KEY_FIELDS.items():
        if field in source:
            return _key_of(Reference(kind, source[field]["name"]), source[field], sources)
    named = ", ".join(source) or "nothing"
    raise ContainerConfigError("CreateContainerConfigError", f"valueFrom.{named} is not supported by this node")


def _key_of(reference: Reference, selector: Mapping[str, Any], sources: Sources) -> str | None:
    obj = sources.get(reference)
    value = None if obj is None else data_of(reference, obj).get(selector["key"])
    if value is not None:
        return value.decode(errors="replace")
    if selector.get("optional"):
        return None
    if obj is None:
        raise ContainerConfigError("CreateContainerConfigError", f"{_quoted(reference)} not found")
    message = f"couldn't find key {selector['key']} in {reference.kind} {reference.name}"
    raise ContainerConfigError("CreateContainerConfigError", message)


def _all_of(source: Mapping[str, Any], sources: Sources) -> Iterator[tuple[str, str]]:
    prefix = source.get("prefix") or ""
    for field, kind in _ALL_FIELDS.items():
        if field not in source:
            continue
        reference = Reference(kind, source[field]["name"])
        obj = sources.get(reference)
        if obj is None:
            if source[field].get("optional"):
                continue
            raise ContainerConfigError("CreateContainerConfigError", f"{_quoted(reference)} not found")
        for name, value in data_of(reference, obj).items():
            if _NAME.match(prefix + name):
                yield prefix + name, value.decode(errors="replace")


def _quoted(reference: Reference) -> str:
    return f'{reference.kind.lower()} "{reference.name}"'
