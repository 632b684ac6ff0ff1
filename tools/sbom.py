"""Write a CycloneDX bill of materials of the installed packages: `python tools/sbom.py FILE`.

Contains every distribution that `agentpool-core` needs, extras included, if installed in this environment.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = "agentpool-core"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> list[metadata.Distribution]:
    """Return the root's required distributions, root first; packages that are not installed are left out."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [ROOT]
    while waiting:
        name = _plain(waiting.pop(0))
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.match(r"[\w.-]+", text)[0] for text in found[name].requires or ()]  # type: ignore[index] # a name
    return list(found.values())


def component(distribution: metadata.Distribution) -> dict[str, Any]:
    """Return an entry of the bill."""
    name, version = _plain(distribution.metadata["Name"]), distribution.version
    licence = distribution.metadata.get("License-Expression") or distribution.metadata.get("License") or ""
    entry: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:{'py' + 'pi'}/{name}@{version}",
        "bom-ref": f"{name}@{version}",
    }
    if licence and "\n" not in licence:
        entry["licenses"] = [{"license": {"name": licence}}]
    return entry


def bill() -> dict[str, Any]:
    """The whole document; the same environment gives the same bytes."""
    components = [component(distribution) for distribution in needed()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**components[0], "type": "application"}},
        "components": sorted(components[1:], key=lambda entry: entry["bom-ref"]),
    }


def main() -> None:
    """Writes the file."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and one argument
        raise SystemExit("usage: python tools/sbom.py FILE")
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
