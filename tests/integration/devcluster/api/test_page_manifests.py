"""The manifests of the pages, sent to an API server as a dry run: no unknown field, no refused value.

A block that begins with `spec:` is a part of an AgentPool, and is completed. Objects of other systems are only read as
YAML, and so are blocks that are no objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agentpool_core.spec import API_VERSION, KIND
from agentpool_core.spec.crd import custom_resource_definition
from tests.fixtures.devcluster import ApiClient

ROOT = Path(__file__).parents[4]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "SKILL.md"])
BLOCK = re.compile(r"^```yaml\n(.*?)^```|^cat > \S+ <<'YAML'\n(.*?)^YAML", re.MULTILINE | re.DOTALL)
HANDLER = {"command": {"argv": ["cat"]}}
FOREIGN = ("argoproj.io/", "keda.sh/", "kustomize.toolkit.fluxcd.io/", "monitoring.coreos.com/")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def objects(page: Path) -> Iterator[dict[str, Any]]:
    """Return the objects of a page; parts of an AgentPool as whole AgentPools."""
    for block in BLOCK.finditer(page.read_text()):
        for found in yaml.safe_load_all(block[1] or block[2]):
            if found.get("kind"):
                yield found
            elif set(found) == {"spec"}:
                whole = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "part"}}
                yield whole | {"spec": {"handler": HANDLER, **found["spec"]}}


async def place_of(api: ApiClient, found: dict[str, Any]) -> str:
    """Return the path of the collection to which an object belongs."""
    version = found["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    (resource,) = [
        each for each in (await api.get(root))["resources"] if each["kind"] == found["kind"] and "/" not in each["name"]
    ]
    namespaced = "/namespaces/default" if resource["namespaced"] else ""
    return f"{root}{namespaced}/{resource['name']}"


async def test_the_api_server_accepts_every_manifest_of_the_pages(api: ApiClient):
    """A reader can apply what the page shows; each refusal is listed with its page."""
    await api.create(DEFINITIONS, custom_resource_definition())
    refused, count = [], 0
    for page in PAGES:
        for found in objects(page):
            if found["apiVersion"].startswith(FOREIGN):
                continue
            found["metadata"].pop("namespace", None)
            path = await place_of(api, found)
            answer = await api.ask("POST", path, found, dryRun="All", fieldValidation="Strict")
            count += 1
            if answer.status != 201:
                refused.append(f"{page.name}: {found['kind']}: {answer.body['message']}")
    assert refused == []
    assert count > 12
