"""`python -m bench [NAME …] [--json FILE] [--write] [--quick]`: run the named benchmarks, or all, in sequence.

Each benchmark is a module here with `NAME` and `async run() -> Report`. Exit code 0: every required ratio holds; 1: a
ratio falls short; 3: a benchmark cannot run here.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

from bench import cases, pages
from bench.report import QUICK, CannotRunError, Report, quick

HOLDS, FALLS_SHORT, CANNOT_RUN = 0, 1, 3  # exit status


def names() -> list[str]:
    """Return the benches: modules and packages here that define NAME."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *here.glob("*/__init__.py")]
    found = [file for file in files if "\nNAME = " in file.read_text(encoding="utf-8")]
    return sorted(file.parent.name if file.stem == "__init__" else file.stem for file in found)


def main() -> int:
    """Run benchmarks; return the worst exit code."""
    options = _options()
    if options.traces:
        os.environ["AGENTPOOL_TRACES"] = options.traces
    statuses, reports = [], []
    for name in options.names or _wholes():
        try:
            report = asyncio.run(importlib.import_module(f"bench.{name}").run())
        except CannotRunError as error:
            print(f"{name} cannot run: {error}", file=sys.stderr)
            statuses.append(CANNOT_RUN)
            continue
        print(report.table(), flush=True)
        statuses.append(HOLDS if report.holds else FALLS_SHORT)
        reports.append(report)
        if options.write:
            pages.write(report)
    if options.json_file:
        options.json_file.write_text(json.dumps(_document(reports), indent=2) + "\n", encoding="utf-8")
    return max(statuses)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", type=_known, metavar="NAME", help=", ".join(names()))
    parser.add_argument("--json", dest="json_file", metavar="FILE", type=Path, help="write the report there too")
    parser.add_argument("--write", action="store_true", help="write the tables of README.md and the docs")
    parser.add_argument("--quick", action="store_true", help=f"a single round of the short rows, as {QUICK}=1")
    parser.add_argument("--traces", metavar="DIR", help="where the arrival traces lie, for autoscale")
    options = parser.parse_args()
    if options.quick:
        os.environ[QUICK] = "1"
    if options.write and quick():
        parser.error(f"--write is for whole runs, and {QUICK} is set; unset it, or leave --write out")
    return options


def _wholes() -> list[str]:
    """Return all benches except those that `cases` runs."""
    return [name for name in names() if name not in {part.NAME for part in cases.PARTS}]


def _known(name: str) -> str:
    """Return the name of a bench. Raises an argument's error."""
    if name not in names():
        raise argparse.ArgumentTypeError(f"there is no bench {name}; there are {', '.join(names())}")
    return name


def _document(reports: list[Report]) -> object:
    """Return a single report as an object, several or none as a list."""
    documents = [report.as_json() for report in reports]
    return documents[0] if len(documents) == 1 else documents


if __name__ == "__main__":
    sys.exit(main())
