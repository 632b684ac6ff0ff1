"""The three kinds of job, each a few lines between the queue and the module that does the work.

`code` and `text` are sync functions, because parsing and ranking keep a core busy: the worker runs them in threads.
`reasoning` is async: it waits for a model or for files, and stores a checkpoint after every step, where it may also be
asked to yield. Payload of all three: `{"root": directory, "path": file in it, "record": directory or null}`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agentpool_worker import App, Overloaded, Permanent
from repo_analyst.agent import AgentState, answer
from repo_analyst.chat_planner import ChatPlanner, ModelBusyError
from repo_analyst.execution_record import recorded
from repo_analyst.local_planner import LocalPlanner
from repo_analyst.prose import summarise
from repo_analyst.source import measure
from repo_analyst.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_worker import BlockingContext, Context

app = App()


@app.handler("code")
def code(payload: dict[str, Any], ctx: BlockingContext) -> dict[str, Any]:
    """Measure a source file."""
    with open_workspace(payload, ctx) as workspace:
        return {"path": payload["path"], **measure(payload["path"], workspace.read(payload["path"]))}


@app.handler("text")
def text(payload: dict[str, Any], ctx: BlockingContext) -> dict[str, Any]:
    """Summarise a prose file."""
    with open_workspace(payload, ctx) as workspace:
        return {"path": payload["path"], **summarise(workspace.read(payload["path"]))}


@app.handler("reasoning")
async def reasoning(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Answer a question about a file, step by step, going on from the last saved step."""
    path = payload["path"]
    question = payload.get("question") or f"What is {path} for, and who uses it?"
    state = AgentState.from_json(ctx.state) if ctx.state else AgentState(path=path, question=question)
    planner = ChatPlanner.from_environment() or LocalPlanner()
    with open_workspace(payload, ctx) as workspace:
        return {"path": path, **await answer(workspace, state, planner, ctx.checkpoint)}


@contextmanager
def open_workspace(payload: dict[str, Any], ctx: Context | BlockingContext) -> Iterator[Workspace]:
    """Open the job's directory, record the run, and classify failures as retryable or final."""
    with recorded(payload.get("record"), job=ctx.job_id, attempt=ctx.attempt):
        try:
            yield Workspace.at(payload["root"])
        except WorkspaceError as error:
            raise Permanent(str(error)) from error
        except ModelBusyError as error:
            raise Overloaded(str(error)) from error
