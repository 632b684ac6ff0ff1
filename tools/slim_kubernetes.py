"""Remove from an installed `kubernetes` package the generated classes that no image imports.

The package has a module for each type and each API group of Kubernetes, twice (sync and asyncio), 120 MB in all. It
imports each on first use. The operator and the gateway address the API server by path and use none; kopf imports
three types. Usage in an image's build: `python slim_kubernetes.py FOLDER`, with the package somewhere below FOLDER.
`tests/chart/test_slim_kubernetes.py` runs the whole system on a package that was treated so.
"""

from __future__ import annotations

import sys
from pathlib import Path

GENERATED = ("client/api", "client/models", "aio/client/api", "aio/client/models")
KEPT = frozenset({"__init__", "v1_object_meta", "v1_owner_reference", "v1_managed_fields_entry"})  # kopf's, and theirs


def removable(package: Path) -> list[Path]:
    """Return the modules that no image imports, and their compiled files.

    Raises ValueError where the package is not laid out as expected.
    """
    folders = [package / name for name in GENERATED]
    if absent := [str(folder) for folder in folders if not folder.is_dir()]:
        raise ValueError(f"{', '.join(absent)}: not found; compare GENERATED with the installed kubernetes package")
    modules = (path for folder in folders for path in (*folder.glob("*.py"), *folder.glob("__pycache__/*.pyc")))
    return [path for path in modules if path.name.partition(".")[0] not in KEPT]


def main() -> int:
    """Remove them from the one package below the folder; 1 if there is none, or more than one."""
    (folder,) = sys.argv[1:]
    packages = list(Path(folder).rglob("site-packages/kubernetes"))
    if len(packages) != 1:
        print(f"{folder}: holds {len(packages)} kubernetes packages; expected one", file=sys.stderr)  # noqa: T201
        return 1
    paths = removable(packages[0])
    size = sum(path.stat().st_size for path in paths)
    for path in paths:
        path.unlink()
    print(f"removed {len(paths)} files of kubernetes, {size / 1e6:.0f} MB")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
