"""A job's output as artifacts: one for each run of the handler, to which the run's chunks are appended. Pure.

A run that continues after a wait, or after the loss of its worker, has a separate artifact. `streams` sends the chunks
as they come; the task has the stored chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from a2a.types import Artifact, Part, StreamResponse, TaskArtifactUpdateEvent

from agentpool_core.jobs import Job, Json
from agentpool_core.queue.chunks import START, Chunk
from agentpool_gateway.a2a.tasks import NAMESPACE, context_of, part_of
from agentpool_gateway.a2a.values import struct_of

OUTPUT = "output"


def output_of(chunks: Iterable[Chunk]) -> list[Artifact]:
    """Return the artifacts of stored chunks, oldest run first; texts that follow each other are one text."""
    found = []
    for _, grouped in groupby(chunks, key=lambda chunk: chunk.run):
        run = list(grouped)
        found.append(_artifact(run[0], _joined([chunk.value for chunk in run]), truncated=run[0].number > 1))
    return found


class SentOutput:
    """The output that a stream has sent: decides whether a chunk begins an artifact, and when an artifact ends."""

    def __init__(self, job: Job, sent: Sequence[Chunk] = ()) -> None:
        self._job = job
        self._newest = sent[-1] if sent else None  # has the open artifact

    @property
    def place(self) -> str:
        """Return the place after which chunks have not been sent."""
        return self._newest.id if self._newest else START

    def next(self, chunk: Chunk) -> list[StreamResponse]:
        """Return the updates for a chunk; a new run ends the artifact of the run before it."""
        continues = self._newest is not None and self._newest.run == chunk.run
        found = [] if continues else self.end()
        self._newest = chunk
        return [*found, self._update(_artifact(chunk, [part_of(chunk.value)]), append=continues, last=False)]

    def end(self) -> list[StreamResponse]:
        """Return the update that ends the open artifact: nothing is appended, and an artifact has at least a part."""
        if self._newest is None:
            return []
        return [self._update(_artifact(self._newest, [Part(text="")]), append=True, last=True)]

    def _update(self, artifact: Artifact, *, append: bool, last: bool) -> StreamResponse:
        event = TaskArtifactUpdateEvent(
            task_id=self._job.job_id,
            context_id=context_of(self._job),
            artifact=artifact,
            append=append,
            last_chunk=last,
        )
        return StreamResponse(artifact_update=event)


def _artifact(chunk: Chunk, parts: list[Part], *, truncated: bool = False) -> Artifact:
    own: dict[str, Json] = {"run": chunk.run, "attempt": chunk.attempt}
    if truncated:
        own["truncated"] = True
    return Artifact(artifact_id=f"{OUTPUT}-{chunk.run}", name=OUTPUT, parts=parts, metadata=struct_of({NAMESPACE: own}))


def _joined(values: list[Json]) -> list[Part]:
    """Return the parts of values."""
    parts: list[Part] = []
    for is_text, grouped in groupby(map(part_of, values), key=lambda part: part.WhichOneof("content") == "text"):
        run = list(grouped)
        parts += [Part(text="".join(part.text for part in run))] if is_text else run
    return parts
