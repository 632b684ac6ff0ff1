"""The Python that the page "Try the scaling" runs in a reader's browser: the decision and the simulator, unchanged.

`archive` packs the repository's own modules for the documentation site; `pyodide_files` names the files of Pyodide
(Python for browsers), which `make docs` installs from npm. Packages above the modules are empty, because those of the
repository import libraries that a browser lacks. `docs_site` takes over next.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "try-scaling"  # of the site
PYODIDE = ROOT / "build/npm/site/node_modules/pyodide"
PYODIDE_FILES = (
    "pyodide.mjs",
    "pyodide.asm.js",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
    "package.json",
)
MODULES = {
    "operator": ["agentpool_operator/scaling/*.py"],
    "core": [f"agentpool_core/{name}.py" for name in ("errors", "jobs", "text", "spec/rates", "queue/load")],
    ".": [f"bench/autoscale/{name}.py" for name in ("jobs", "lab", "measures", "ours", "peers", "simulator")],
}
PACKAGES = (
    "agentpool_operator",
    "agentpool_core",
    "agentpool_core/spec",
    "agentpool_core/queue",
    "bench",
    "bench/autoscale",
)
WHEN = (2020, 1, 1, 0, 0, 0)  # of every member: the same modules, the same bytes


def archive() -> bytes:
    """Return the modules as a zip archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        for package in PACKAGES:
            target.writestr(zipfile.ZipInfo(f"{package}/__init__.py", WHEN), "")
        for base, patterns in MODULES.items():
            for path in sorted(path for pattern in patterns for path in (ROOT / base).glob(pattern)):
                name = path.relative_to(ROOT / base).as_posix()
                target.writestr(zipfile.ZipInfo(name, WHEN), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def pyodide_files() -> Iterator[Path]:
    """Yield the installed files of Pyodide; none before `make docs` has installed them."""
    yield from (path for name in PYODIDE_FILES if (path := PYODIDE / name).is_file())
