"""Write the generated files, or check that they are up to date: `python tools/generate.py [--check]`.

A single source of truth, the types in `agentpool_core.spec`, gives the CustomResourceDefinition, the chart's copy of it
and the field reference. The chart's values give the table in its README (`chart_files`), the registries of operator and
worker the table of metrics (`metrics_reference`), the click commands the page of the command line (`cli_reference`),
docstrings the page of the Python API (`python_reference`), the gateway's OpenAPI description the page of the HTTP API
(`http_reference`) and the types of the TypeScript client (`typescript_types`), constants the page of limits
(`limits_reference`), `dashboard` the Grafana dashboard, and docs/runbooks.md the page that alerts lead to
(`runbooks_page`). `make generate` writes them; `make verify` fails and names each file that differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chart_files import crd_template, with_values_table
from cli_reference import reference as cli_reference
from dashboard import dashboard_json
from http_reference import reference as http_reference
from limits_reference import reference as limits_reference
from metrics_reference import reference as metrics_reference
from python_reference import reference as python_reference
from runbooks_page import page as runbooks_page
from typescript_types import types as typescript_types

from agentpool_core.spec.crd import custom_resource_definition, to_yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/agentpool"
BANNER = "# Generated from core/agentpool_core/spec by `make generate`; change the types there, not this file.\n"


def generated() -> dict[Path, str]:
    """Return every generated file with its content."""
    crd = custom_resource_definition()
    return {
        ROOT / "crds/agentpools.yaml": BANNER + to_yaml(crd),
        ROOT / "docs/reference/agentpool.md": field_reference(crd),
        ROOT / "docs/reference/cli.md": cli_reference(),
        ROOT / "docs/reference/http.md": http_reference(),
        ROOT / "docs/reference/limits.md": limits_reference(),
        ROOT / "docs/reference/metrics.md": metrics_reference(),
        ROOT / "docs/reference/python.md": python_reference(),
        ROOT / "clients/typescript/src/schema.ts": typescript_types(),
        ROOT / "core/agentpool_core/runbooks.html": runbooks_page(),
        CHART / "files/dashboard.json": dashboard_json(),
        CHART / "templates/crd.yaml": crd_template(BANNER, crd, to_yaml),
        CHART / "README.md": with_values_table((CHART / "README.md").read_text(), (CHART / "values.yaml").read_text()),
    }


def field_reference(crd: dict[str, Any]) -> str:
    """Return the reference of all fields, as a Markdown table for spec and a table for status."""
    version = crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        f"# AgentPool `{crd['spec']['group']}/{version['name']}`",
        "",
        "Every field of the resource. Generated from `core/agentpool_core/spec` by `make generate`;",
        "`kubectl explain agentpools.spec --recursive` shows the same on a cluster.",
    ]
    for part in ("spec", "status"):
        lines += ["", f"## {part}", "", "| field | type | meaning |", "|---|---|---|"]
        lines += [f"| `{path}` | {kind} | {text} |" for path, kind, text in _rows(part, root[part])]
    lines += ["", "## Refused by the API server", "", "| where | message |", "|---|---|"]
    rules = _rules("", version["schema"]["openAPIV3Schema"])
    lines += [f"| `{path or 'metadata'}` | {message} |" for path, message in rules]
    return "\n".join(lines) + "\n"


def _rows(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, child in schema.get("properties", {}).items():
        below = child.get("items", child) if child["type"] == "array" else child
        here = f"{path}.{name}" + ("[]" if child["type"] == "array" else "")
        yield here, _type_of(child), child["description"].replace("|", "\\|")
        yield from _rows(here, below)


def _type_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type_of(schema['items'])}"
    if "minimum" not in schema:
        return str(schema["type"])
    return f"{schema['type']} from {schema['minimum']}" + (f" to {schema['maximum']}" if "maximum" in schema else "")


def _rules(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name, child in schema.get("properties", {}).items():
        yield from _rules(f"{path}.{name}".lstrip("."), child)
    if "items" in schema:
        yield from _rules(f"{path}[]", schema["items"])


def main() -> int:
    """Write the files, or with --check name those that differ; return 1 if any does."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for path, text in generated().items():
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is not what the types give; run: make generate")  # noqa: T201
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {name}")  # noqa: T201
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
