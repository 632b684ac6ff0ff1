"""Tools of the reasoning agent: four read-only tools on a workspace.

A tool takes plain JSON arguments and returns a short text for a language model; the local planner reads the same text.
A failing tool answers with the reason instead of failing the job, so the planner can choose a different step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repo_analyst.source import measure
from repo_analyst.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXCERPT_LINES = 40
EXCERPT_CHARACTERS = 4000
HITS_SHOWN = 20
ENTRIES_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool of the agent."""

    name: str  # name in calls of the planner
    describes: str  # a line for the planner: purpose and arguments
    run: Callable[[Workspace, Mapping[str, Any]], str]  # blocks while reading


def read_file(workspace: Workspace, arguments: Mapping[str, Any]) -> str:
    """Return the beginning of a file."""
    lines = workspace.read(str(arguments["path"])).splitlines()
    shown = "\n".join(lines[:EXCERPT_LINES])[:EXCERPT_CHARACTERS]
    return shown if len(lines) <= EXCERPT_LINES else f"{shown}\n… {len(lines) - EXCERPT_LINES} more lines"


def list_directory(workspace: Workspace, arguments: Mapping[str, Any]) -> str:
    """Return the names in a directory, one per line."""
    names = workspace.entries(str(arguments["path"]))
    return "\n".join(names[:ENTRIES_SHOWN] + [f"… {len(names)} in all"] * (len(names) > ENTRIES_SHOWN))


def grep(workspace: Workspace, arguments: Mapping[str, Any]) -> str:
    """Return every line that holds a text, as `path:line: text`, with their number at the end."""
    text, own, found = str(arguments["text"]), arguments.get("except"), 0
    hits: list[str] = []
    for path in workspace.files():
        if path == own:
            continue
        try:
            content = workspace.read(path)
        except WorkspaceError:
            continue
        if text not in content:
            continue
        for number, line in enumerate(content.splitlines(), 1):
            if text in line:
                found += 1
                hits += [f"{path}:{number}: {line.strip()[:120]}"] * (len(hits) < HITS_SHOWN)
    return "\n".join([*hits, f"{found} lines"])


def measure_file(workspace: Workspace, arguments: Mapping[str, Any]) -> str:
    """Return a file's measures as JSON."""
    path = str(arguments["path"])
    return json.dumps(measure(path, workspace.read(path)))


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(name="read_file", describes='the beginning of a file: {"path": "…"}', run=read_file),
        Tool(name="list_directory", describes='the names in a directory: {"path": "…"}', run=list_directory),
        Tool(
            name="grep",
            describes='lines that hold a text: {"text": "…", "except": "a path to leave out, or null"}',
            run=grep,
        ),
        Tool(name="measure_file", describes='counts of a file: {"path": "…"}', run=measure_file),
    )
}


def use(workspace: Workspace, name: str, arguments: Mapping[str, Any]) -> str:
    """Run a tool; errors become the tool's answer."""
    tool = TOOLS.get(name)
    if tool is None:
        return f"error: there is no tool {name!r}; there are {', '.join(TOOLS)}"
    try:
        return tool.run(workspace, arguments)
    except KeyError as error:
        return f"error: {name} needs the argument {error.args[0]!r}"
    except WorkspaceError as error:
        return f"error: {error}"
