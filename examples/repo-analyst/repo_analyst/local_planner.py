"""A planner without a model: fixed questions in a fixed order.

The questions: the files around, the content, the size, the mentions in other files. The answer is composed from the
tools' answers, and depends on the input only.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

from repo_analyst.agent import AgentState, Answer, ToolCall

_COMMENT = re.compile(r"^\s*(?:#|//|--|;|/?\*|<!--)+\s?(?P<text>[^!].*?)\s*(?:-->|\*/)?$")
_KEY = re.compile(r"^(?:\[+(?P<table>[\w.:\"-]+)\]+|(?P<key>[\w./-]+)\s*:(?:\s|=|$)|(?P<name>[A-Z_a-z][\w.-]*)\s*=)")
MENTIONS_SHOWN = 4
KEYS_SHOWN = 8
SHORTEST_STEM = 3  # characters; shorter stems occur everywhere


class LocalPlanner:
    """Plans by rule; keeps no state between calls, so any worker can continue."""

    async def next(self, state: AgentState, *, must_answer: bool) -> ToolCall | Answer:
        """Return the first step of the plan that is not done yet, then the answer."""
        plan = self.plan(state)
        if must_answer or len(state.steps) >= len(plan):
            return Answer(text=self.conclude(state))
        return plan[len(state.steps)]

    def plan(self, state: AgentState) -> list[ToolCall]:
        """Return every step to the answer; a name without mentions is searched again by its stem."""
        path = PurePosixPath(state.path)
        steps = [
            ToolCall(tool="list_directory", arguments={"path": str(path.parent)}, why="see what is around it"),
            ToolCall(tool="read_file", arguments={"path": state.path}, why="see how it begins"),
            ToolCall(tool="measure_file", arguments={"path": state.path}, why="see how large it is"),
            ToolCall(tool="grep", arguments={"text": path.name, "except": state.path}, why="see who names it"),
        ]
        unnamed = len(state.steps) >= len(steps) and mentions(state.steps[-1].observation)[0] == 0
        if unnamed and len(path.stem) > SHORTEST_STEM and path.stem != path.name:
            why = "no file contains the full name: search for the stem"
            steps.append(ToolCall(tool="grep", arguments={"text": path.stem, "except": state.path}, why=why))
        return steps

    def conclude(self, state: AgentState) -> str:
        """Put the observations together."""
        seen = {step.tool: step.observation for step in state.steps}
        sentences = [_what(state.path, seen.get("read_file", ""))]
        measures = seen.get("measure_file", "")
        if measures.startswith("{"):
            counts = json.loads(measures)
            sentences.append(f"It has {counts['lines']} lines, {counts['comments']} of them comments.")
        if "grep" in seen:
            sentences.append(_used(*mentions(seen["grep"])))
        neighbours = seen.get("list_directory", "").splitlines()
        sentences.append(f"It stands beside {max(len(neighbours) - 1, 0)} other entries.")
        return " ".join(sentences)


def mentions(observation: str) -> tuple[int, list[str]]:
    """Parse grep's answer: the number of lines, and the distinct files."""
    *hits, total = observation.splitlines() or ["0 lines"]
    count = int(total.split()[0]) if total.split()[0].isdigit() else 0
    return count, list(dict.fromkeys(hit.partition(":")[0] for hit in hits))


def _what(path: str, text: str) -> str:
    lines = text.splitlines()
    comments = [found["text"] for line in lines[:12] if (found := _COMMENT.match(line)) and found["text"]]
    keys = [found.group(found.lastgroup or 0) for line in lines if (found := _KEY.match(line))]
    named = f"{path} defines {', '.join(dict.fromkeys(keys[:KEYS_SHOWN]))}." if keys else ""
    said = f'It says of itself: "{comments[0]}"' if comments else ""
    return " ".join(filter(None, (named or f"{path} is plain data.", said and said.rstrip(".") + ".")))


def _used(count: int, files: list[str]) -> str:
    if not count:
        return "No other file mentions it."
    listed = ", ".join(files[:MENTIONS_SHOWN]) + (", …" if len(files) > MENTIONS_SHOWN else "")
    return f"{count} lines elsewhere mention it, in {listed}."
