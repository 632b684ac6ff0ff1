"""`python -m bench NAME [--json FILE]`: each bench is a module here with `NAME` and `async run() -> Report`.

It exits 0 when every required ratio holds, 1 when one falls short, 3 when the bench cannot run here.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

from bench.report import CannotRunError

HOLDS, FALLS_SHORT, CANNOT_RUN = 0, 1, 3  # exit status


def names() -> list[str]:
    """The benches that there are: modules and packages here that define NAME."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *here.glob("*/__init__.py")]
    found = [file for file in files if "\nNAME = " in file.read_text(encoding="utf-8")]
    return sorted(file.parent.name if file.stem == "__init__" else file.stem for file in found)


def main() -> int:
    """Runs one bench."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--json", dest="json_file", metavar="FILE", help="write the report there too")
    parser.add_argument("--traces", metavar="DIR", help="where the arrival traces lie, for autoscale")
    options = parser.parse_args()
    if options.traces:
        os.environ["AGENTPOOL_TRACES"] = options.traces
    try:
        report = asyncio.run(importlib.import_module(f"bench.{options.name}").run())
    except CannotRunError as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return CANNOT_RUN
    print(report.table())
    if options.json_file:
        Path(options.json_file).write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    return HOLDS if report.holds else FALLS_SHORT


if __name__ == "__main__":
    sys.exit(main())
