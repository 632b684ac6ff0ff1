"""Write the agents' findings as a Markdown file, and the final summary of the demo.

The findings are the jobs' results as stored by the queue; nothing is recomputed here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_local.bundled import checkout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agentpool_local.demo.figures import DemoFigures

FUNCTIONS_SHOWN = 15
MARKERS_SHOWN = 20
NOTE = "Written by `agentpool demo`: one job for each file, worked on by the agents of `examples/repo-analyst`."


def summary(figures: DemoFigures) -> str:
    """Return the demo's outcome in a few lines."""
    return (
        f"{figures.submitted} jobs submitted, {figures.succeeded} succeeded, {figures.failed} failed, "
        f"{figures.duplicates} run twice\n"
        f"workers: 0, then {figures.peak_replicas} at the most, then {figures.final_replicas}\n"
        f"dispatch: p50 {_ms(figures.dispatch_p50_ms)}, p99 {_ms(figures.dispatch_p99_ms)} "
        "(from being able to run to running)\n"
        f"{figures.seconds:.1f} s in all"
    )


def next_after_demo() -> str:
    """Return the user's next steps; those of a checkout name its files."""
    here = checkout()
    guide = here / "docs" / "quickstart.md" if here else "docs/quickstart.md of the checkout"
    active = [] if shutil.which("agentpool") or not here else [f"  . {Path(sys.executable).parent / 'activate'}"]
    lines = [
        "",
        "next:",
        *active,
        "  agentpool demo --keep    the same, and the system keeps running: kubectl, queue, logs",
        "  agentpool dev            the whole system with its console, for your own agent",
        f"  an agent of your own, in about five minutes: {guide}",
    ]
    return "\n".join(lines)


def report(root: Path, results: Sequence[Mapping[str, Any]], failures: Mapping[str, str], figures: DemoFigures) -> str:
    """Return the whole report. `results` are the agents' findings, `failures` the errors by path."""
    code = [each for each in results if "language" in each]
    prose = [each for each in results if "summary" in each]
    answers = [each for each in results if "answer" in each]
    parts = [
        f"# What the agents found in {root.name or root}",
        NOTE,
        "```\n" + summary(figures) + "\n```",
        *_code(code),
        *_prose(prose),
        *_answers(answers),
        *_failures(failures),
    ]
    return "\n\n".join(parts) + "\n"


def _code(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    languages = sorted({str(each["language"]) for each in found})
    totals = [(name, [each for each in found if each["language"] == name]) for name in languages]
    rows = (
        (name, len(of), _sum(of, "lines"), _sum(of, "code"), _sum(of, "comments"), _sum(of, "functions"))
        for name, of in totals
    )
    parts = [
        "## Source",
        _table(("language", "files", "lines", "code", "comments", "functions"), rows),
        *_functions(found),
    ]
    markers = [(each["path"], note["line"], note["text"]) for each in found for note in each["markers"]]
    if markers:
        parts += ["### Notes left for later", _table(("file", "line", "note"), markers[:MARKERS_SHOWN])]
    unparsed = [f"- `{each['path']}`: {each['unparsed']}" for each in found if each.get("unparsed")]
    if unparsed:
        parts += ["### Does not parse", "\n".join(unparsed)]
    return parts


def _functions(found: Sequence[Mapping[str, Any]]) -> list[str]:
    measured = [(each["path"], each["most_complex"]) for each in found if each.get("most_complex")]
    if not measured:
        return []
    ordered = sorted(measured, key=lambda pair: (-int(pair[1]["complexity"]), str(pair[0])))[:FUNCTIONS_SHOWN]
    rows = ((path, each["name"], each["line"], each["lines"], each["complexity"]) for path, each in ordered)
    return [
        "### Most complex functions",
        _table(("file", "function", "line", "lines", "complexity"), rows),
    ]


def _prose(found: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = ["## Prose"] if found else []
    for each in sorted(found, key=lambda one: str(one["path"])):
        said = [f"- {sentence}" for sentence in each["summary"]] or ["- (no whole sentence)"]
        keywords = f"Words: {', '.join(each['keywords'])}" if each["keywords"] else ""
        parts.append("\n".join(filter(None, [f"### {each['path']}\n", *said, keywords and f"\n{keywords}"])))
    return parts


def _answers(found: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = ["## Everything else"] if found else []
    for each in sorted(found, key=lambda one: str(one["path"])):
        steps = " → ".join(step["tool"] for step in each["steps"])
        parts.append(f"### {each['path']}\n\n{each['answer']}\n\n({len(each['steps'])} steps: {steps})")
    return parts


def _failures(failures: Mapping[str, str]) -> list[str]:
    if not failures:
        return []
    return ["## Not finished", "\n".join(f"- `{path}`: {error}" for path, error in sorted(failures.items()))]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _sum(found: Iterable[Mapping[str, Any]], field: str) -> int:
    return sum(int(each.get(field) or 0) for each in found)


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"
