"""The chart's generated files: the copy of the CustomResourceDefinition, and the table of values in the README.

The CustomResourceDefinition is a template, so an upgrade includes the definition and an uninstall may keep it, unlike
Helm's folder `crds`. The table comes from the comments in `values.yaml`, the only source. `generate.py` writes or
compares the results of these functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

TABLE_BEGIN = "<!-- values: generated from values.yaml by `make generate` -->"
TABLE_END = "<!-- end of values -->"
_CRD_HEAD = "{{- if .Values.crds.enabled }}\n"
_CRD_TAIL = "{{- end }}\n"
_CRD_METADATA = """\
  labels:
    {{- include "agentpool.labels" (list $ "crd") | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A documented value of the chart."""

    path: str  # dotted
    default: str  # as JSON
    text: str  # the comment


def crd_template(banner: str, crd: dict[str, Any], dump: Callable[[dict[str, Any]], str]) -> str:
    """Return the CustomResourceDefinition as a template with the release's labels."""
    bare = {**crd, "metadata": {"name": crd["metadata"]["name"]}}
    text = dump(bare).replace("{{", '{{ "{{" }}')
    name = f"  name: {crd['metadata']['name']}\n"
    return banner + _CRD_HEAD + text.replace(name, name + _CRD_METADATA, 1) + _CRD_TAIL


def documented_values(text: str) -> Iterator[Value]:
    """Yield the values of a values.yaml with their comments. Raises ValueError for a value without a comment."""
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []  # indentation and key of the enclosing maps
    comment: list[str] = []
    below = ""  # a value with more lines below: part of the default
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# "):
            comment.append(bare[2:])
        elif not bare:
            comment = []
        elif not bare.startswith("- "):
            indent, key = len(line) - len(bare), bare.split(":", 1)[0]
            path = [*((i, k) for i, k in path if i < indent), (indent, key)]
            dotted = ".".join(k for _, k in path)
            if below and dotted.startswith(f"{below}."):
                continue
            default = _at(values, dotted)
            below = dotted if comment and default else ""
            if comment:
                yield Value(path=dotted, default=json.dumps(default), text=" ".join(comment))
            elif not (default and isinstance(default, dict)):  # a map with members stands for them
                raise ValueError(f"values.yaml: {dotted} has no comment above it; say what it does")
            comment = []


def with_values_table(readme: str, text: str) -> str:
    """Return the README with the table of values. Raises ValueError if the markers are missing."""
    if TABLE_BEGIN not in readme or TABLE_END not in readme:
        raise ValueError(f"the chart's README needs the lines {TABLE_BEGIN!r} and {TABLE_END!r}")
    head, _, rest = readme.partition(TABLE_BEGIN)
    _, _, tail = rest.partition(TABLE_END)
    rows = [f"| `{v.path}` | `{_cell(v.default)}` | {_cell(v.text)} |" for v in documented_values(text)]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    return f"{head}{TABLE_BEGIN}\n{table}\n{TABLE_END}{tail}"


def _at(values: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        values = values[key]
    return values


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
