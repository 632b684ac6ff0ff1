"""LangGraph's checkpointer of a job: kept in memory, and stored in the journal of steps.

A finished node is a step, `node NAME`, with its writes. The latest checkpoint of the graph and of its subgraphs is one
more step, which each superstep replaces. `load` puts both back in a later attempt. `langgraph` runs graphs with it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from agentpool_worker.durable.steps import Steps

_INPUT = UUID(int=0)  # the task that writes the input of a graph, which its first checkpoint has
_MARK = "graph"  # field of the results of our steps: the run that they belong to


class JobSaver(InMemorySaver):
    """Checkpoints of one run of a graph, in one attempt at a job."""

    def __init__(self, steps: Steps, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self.run = ""  # name of the run's first step
        self.segment = 0  # how often the run has waited
        self.node_names: dict[str, str] = {}  # by task
        self._steps = steps
        self._step_names: dict[str, str] = {}  # by task
        self._interrupted: dict[str, int] = {}  # the segment that a task's interrupt ended, by task
        self._latest: dict[str, Any] = {}  # checkpoints by namespace
        self._began = steps.clock()  # the present superstep

    async def load(self, run: str) -> None:
        """Put back what earlier attempts have stored, if this attempt has not begun to run nodes."""
        if self._latest:
            return
        self.run = self.run or run
        await self._steps.journal.open()
        if (state := self._steps.journal.find(self._state_name)) is None:
            return
        self._latest = state.result["latest"]
        for namespace, (thread, parent, checkpoint, metadata) in self._latest.items():
            saved: Checkpoint = self.read(checkpoint)
            self.put(_config(thread, namespace, parent), saved, self.read(metadata), saved["channel_versions"])
        for step in self._steps.journal.all():
            if isinstance(step.result, dict) and step.result.get(_MARK) == self.run and "task" in step.result:
                self._put_back(step.name, step.result)

    def _put_back(self, name: str, stored: dict[str, Any]) -> None:
        task: str = stored["task"]
        self._step_names[task] = name
        writes = [(channel, self.read(value)) for channel, value in stored["writes"]]
        self.put_writes(_config(*stored["at"]), writes, task, stored["path"])
        if stored["segment"] is not None:
            self._interrupted[task] = stored["segment"]

    def waited(self, task: str) -> bool:
        """Return whether the task's interrupt ended an earlier segment, so that its answer has come."""
        return self._interrupted.get(task, self.segment) < self.segment

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint after a superstep, in place of the one before."""
        saved = self.put(config, checkpoint, metadata, new_versions)
        at = config["configurable"]
        namespace = at.get("checkpoint_ns", "")
        if not namespace:  # subgraphs of finished nodes: their namespaces have the id of the node's task
            self._latest = {name: value for name, value in self._latest.items() if ":" not in name}
        parent = at.get("checkpoint_id")
        self._latest[namespace] = [at["thread_id"], parent, self.written(checkpoint), self.written(metadata)]
        await self._steps.record(self._state_name, self._began, {_MARK: self.run, "latest": self._latest})
        self._began = self._steps.clock()
        return saved

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a finished or interrupted node has written. Errors and answers alone are not stored."""
        self.put_writes(config, writes, task_id, task_path)
        channels = {channel for channel, _ in writes}
        if ERROR in channels or channels <= {RESUME} or UUID(task_id) == _INPUT:
            return
        if INTERRUPT in channels:
            self._interrupted[task_id] = self.segment
        at = config["configurable"]
        stored = {
            _MARK: self.run,
            "task": task_id,
            "at": [at["thread_id"], at.get("checkpoint_ns", ""), at["checkpoint_id"]],
            "path": task_path,
            "segment": self.segment if INTERRUPT in channels else None,
            "writes": [[channel, self.written(value)] for channel, value in writes],
        }
        await self._steps.record(self._name_of(task_id), self._began, stored)

    def written(self, value: Any) -> list[str]:
        """Return a value as JSON, by the serializer of the graph."""
        kind, data = self.serde.dumps_typed(value)
        return [kind, base64.b64encode(data).decode()]

    def read(self, written: list[str]) -> Any:
        """Return a value that `written` has written."""
        return self.serde.loads_typed((written[0], base64.b64decode(written[1])))

    @property
    def _state_name(self) -> str:
        return f"~state:{self.run}"

    def _name_of(self, task: str) -> str:
        """Return the name of a node's step: the same for each result of a task."""
        if task not in self._step_names:
            node = self.node_names.get(task)  # None: a part of the graph that LangGraph hides, such as its start
            name = base = f"~task:{self.run}" if node is None else f"node {node}"
            taken, count = set(self._step_names.values()), 1
            while name in taken or self._steps.journal.find(name) is not None:
                count += 1
                name = f"{base}#{count}"
            self._step_names[task] = name
        return self._step_names[task]


def _config(thread: str, namespace: str, checkpoint: str | None) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}}
