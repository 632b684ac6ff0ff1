"""A planner that asks a language model, over the chat-completions API of most model servers.

Set OPENAI_BASE_URL (and OPENAI_API_KEY, OPENAI_MODEL if the server needs them). The model gets the question, the tools
and every observation so far, and replies with a JSON object: a tool call or the answer. Any other reply is taken as the
answer, so a talkative model still ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repo_analyst.agent import AgentState, Answer, ToolCall
from repo_analyst.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

REPLY_WITHIN_SECONDS = 120.0
BUSY = (429, 503)  # the server asks for fewer requests at a time


class ModelBusyError(Exception):
    """The model server is overloaded; the job should run again later."""


class ModelError(Exception):
    """The model server cannot be used as configured; the message contains its answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPlanner:
    """Plans with a model."""

    base_url: str  # ends before /chat/completions
    model: str
    api_key: str | None  # None: the server asks for none

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ChatPlanner | None:
        """Read the server from the environment; None when none is named there."""
        base_url = environment.get("OPENAI_BASE_URL", "")
        if not base_url:
            return None
        return cls(
            base_url=base_url.rstrip("/"),
            model=environment.get("OPENAI_MODEL", "default"),
            api_key=environment.get("OPENAI_API_KEY") or None,
        )

    async def next(self, state: AgentState, *, must_answer: bool) -> ToolCall | Answer:
        """Ask the model.

        Raises ModelBusyError if the server is overloaded, ModelError if it cannot be used.
        """
        return decode(await asyncio.to_thread(self._ask, messages(state, must_answer=must_answer)))

    def _ask(self, conversation: list[dict[str, str]]) -> str:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        body = json.dumps({"model": self.model, "messages": conversation, "temperature": 0}).encode()
        request = urllib.request.Request(f"{self.base_url}/chat/completions", body, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=REPLY_WITHIN_SECONDS) as reply:  # noqa: S310
                return str(json.load(reply)["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            if error.code in BUSY:
                raise ModelBusyError(f"{self.base_url} answered {error.code}") from error
            raise ModelError(f"{self.base_url} answered {error.code} {error.reason}") from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{self.base_url} cannot be used: {error}") from error


def messages(state: AgentState, *, must_answer: bool) -> list[dict[str, str]]:
    """Put the state into the model's words."""
    tools = "\n".join(f"- {tool.name}: {tool.describes}" for tool in TOOLS.values())
    system = (
        "You examine a directory of files, one step at a time. Reply with one JSON object and nothing else: "
        '{"tool": "…", "arguments": {…}, "why": "…"} to use a tool, or {"answer": "…"} when you know enough.\n'
        f"Tools:\n{tools}"
    )
    told = [{"role": "system", "content": system}, {"role": "user", "content": state.question}]
    for step in state.steps:
        call = {"tool": step.tool, "arguments": step.arguments, "why": step.why}
        told.append({"role": "assistant", "content": json.dumps(call)})
        told.append({"role": "user", "content": step.observation})
    if must_answer:
        told.append({"role": "user", "content": "Answer now with what you know."})
    return told


def decode(reply: str) -> ToolCall | Answer:
    """Read the model's reply; fences around the JSON are ignored, any other text is the answer."""
    text = reply.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        said: Any = json.loads(text)
    except ValueError:
        return Answer(text=reply.strip())
    if isinstance(said, dict) and isinstance(said.get("tool"), str):
        arguments = said.get("arguments")
        return ToolCall(
            tool=said["tool"],
            arguments=arguments if isinstance(arguments, dict) else {},
            why=str(said.get("why", "")),
        )
    return Answer(text=str(said["answer"]) if isinstance(said, dict) and "answer" in said else reply.strip())
