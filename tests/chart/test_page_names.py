"""Names that a reader copies from the pages exist: values of the chart, fields of an AgentPool, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT

PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", CHART / "README.md", *(ROOT / "examples").rglob("*.md")]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
FIELDS = (ROOT / "docs/reference/agentpool.md").read_text()
METRICS = (ROOT / "docs/reference/metrics.md").read_text()
FREE = (".labels.", ".annotations.")  # the user's own keys
POD = {"spec.securityContext", "spec.nodeName"}  # of a pod, not of an AgentPool
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def paths(node: dict[str, Any], above: str = "") -> Iterator[str]:
    """Return the dotted names of all values."""
    for name, child in node.items():
        yield f"{above}{name}"
        if isinstance(child, dict):
            yield from paths(child, f"{above}{name}.")


@pages
def test_the_values_of_the_chart_exist(page: Path):
    """The test covers names between backticks, and those of `--set`."""
    text = page.read_text()
    named = set(re.findall(rf"`((?:{'|'.join(VALUES)})(?:\.[a-zA-Z]+)+)(?:=[^`]*)?`", text))
    named |= set(re.findall(r"--set(?:-string)? '?([\w.]+)=", text))
    files = {one for one in named if one.endswith((".py", ".yaml", ".md"))}
    wrong = named - files - set(paths(VALUES))
    assert [one for one in wrong if not any(part in one for part in FREE)] == []


@pages
def test_the_fields_of_an_agentpool_exist(page: Path):
    """Names between backticks that begin with `spec.` or `status.` exist; a field may stand for all subfields."""
    known = {field.replace("[]", "") for field in re.findall(r"^\| `((?:spec|status)[^`]*)`", FIELDS, re.MULTILINE)}
    named = {one.replace("[]", "") for one in re.findall(r"`((?:spec|status)\.[\w.\[\]]*\w)`", page.read_text())}
    assert [one for one in named - known - POD if not one.startswith("spec.worker.template")] == []


@pages
def test_the_metrics_exist(page: Path):
    """Each metric is in the generated reference; a histogram's series may have a suffix."""
    known = set(re.findall(r"agentpool_\w+", METRICS))
    named = set(re.findall(r"agentpool_(?:worker|pool|operator|gateway)_\w*[a-z]\b(?!\.)", page.read_text()))
    packages = {path.name for path in ROOT.glob("*/agentpool_*")}
    assert [one for one in named - known - packages if not any(one.startswith(each) for each in known)] == []
