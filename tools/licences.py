"""Check the licences of a CycloneDX list: `python tools/licences.py build/sbom.json` fails for any that is not allowed.

`make sbom` writes the list, of what a user installs; tools for development are not part of it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

# SPDX identifiers, and the classifiers of distributions that declare nothing better. All permit use and distribution
# under our licence, Apache-2.0; MPL-2.0 requires the same licence for its own files only, and those do not change.
ALLOWED = frozenset({
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
})  # fmt: skip


# Licences that were read in the package, because the metadata has a free text that the list leaves out.
READ = {"protobuf": "BSD-3-Clause"}


def licences(component: dict[str, Any]) -> set[str]:
    """Return the identifiers that a component declares; an expression gives several identifiers."""
    found: set[str] = set()
    for entry in component.get("licenses", ()):
        if expression := entry.get("expression"):
            found |= set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
        else:
            found.add(entry["license"].get("id") or entry["license"]["name"])
    return found


def complaints(bill: dict[str, Any]) -> list[str]:
    """Return a line for each component with a licence that is not allowed, or with none."""
    lines = []
    for component in bill["components"]:
        found = licences(component) or {READ[name] for name in (component["name"],) if name in READ}
        if refused := found - ALLOWED or (set() if found else {"no licence"}):
            lines.append(f"{component['name']} {component['version']}: {', '.join(sorted(refused))}")
    return lines


def main() -> None:
    """Check the file that is the only argument."""
    if len(sys.argv) != 2:  # noqa: PLR2004  # the program and an argument
        raise SystemExit("usage: python tools/licences.py FILE")
    bill = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if found := complaints(bill):
        raise SystemExit("\n".join([*found, "read the licence; allow it in tools/licences.py, or replace the package"]))
    sys.stdout.write(f"licences of {len(bill['components'])} components are allowed\n")


if __name__ == "__main__":
    main()
