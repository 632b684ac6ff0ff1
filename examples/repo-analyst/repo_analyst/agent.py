"""A several-step agent: ask the planner, use the chosen tool, remember the observation, until the planner answers.

The whole memory is a plain `AgentState`, passed to `save` after every step. A worker that dies or is asked to yield
loses at most the current step: the next worker continues from the last saved state. The planner chooses the next step:
`local_planner` without a model, `chat_planner` with a model.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from repo_analyst.tools import use

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from repo_analyst.workspace import Workspace

MOST_STEPS = 8  # tool uses before the planner must answer


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """The planner's wish to use a tool."""

    tool: str  # a name out of `tools.TOOLS`
    arguments: Mapping[str, Any]  # as the tool takes them
    why: str  # a line for the record


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The planner is done."""

    text: str  # the answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A tool use and its observation."""

    tool: str
    arguments: dict[str, Any]
    why: str
    observation: str  # the tool's answer


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentState:
    """All that the agent knows; JSON there and back through `as_json` and `from_json`."""

    path: str  # the file in question, relative to the workspace
    question: str
    steps: tuple[Step, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain JSON."""
        return asdict(self) | {"steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> AgentState:
        """Rebuild a saved state."""
        steps = tuple(Step(**step) for step in saved["steps"])
        return cls(path=saved["path"], question=saved["question"], steps=steps)


class Planner(Protocol):
    """Chooses the next step."""

    async def next(self, state: AgentState, *, must_answer: bool) -> ToolCall | Answer:
        """Return the next tool call, or the answer; only an answer when `must_answer`."""


async def answer(
    workspace: Workspace,
    state: AgentState,
    planner: Planner,
    save: Callable[[dict[str, Any]], Awaitable[object]],
) -> dict[str, Any]:
    """Work from `state` to the answer, saving after each step. An error of `save` ends the run."""
    while True:
        spent = len(state.steps) >= MOST_STEPS
        step = await planner.next(state, must_answer=spent)
        if spent and isinstance(step, ToolCall):
            step = Answer(text=f"no answer within {MOST_STEPS} steps; the last looked at {step.arguments}")
        if isinstance(step, Answer):
            return {
                "question": state.question,
                "answer": step.text,
                "steps": [{"tool": done.tool, "why": done.why} for done in state.steps],
            }
        observation = await asyncio.to_thread(use, workspace, step.tool, step.arguments)
        done = Step(tool=step.tool, arguments=dict(step.arguments), why=step.why, observation=observation)
        state = AgentState(path=state.path, question=state.question, steps=(*state.steps, done))
        await save(state.as_json())
