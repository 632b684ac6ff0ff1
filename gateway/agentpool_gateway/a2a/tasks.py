"""A job as a task: state, status message, artifacts, history and metadata. Pure.

The status message is the first line of an error at most: a remote agent never sees a traceback.
"""

from __future__ import annotations

from a2a.types import (
    Artifact,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    Task,
    TaskState,
    TaskStatus,
)
from google.protobuf.json_format import ParseDict

from agentpool_core.jobs import Job, JobId, JobState, Json
from agentpool_core.text import encodable, first_line_of
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.values import UNFIT, data_part, struct_of, timestamp_of

NAMESPACE = "agentpool.dev/job"  # of our entries in free-form metadata
RESULT = "result"  # id of the artifact of a result
STATES = {
    JobState.SCHEDULED: TaskState.TASK_STATE_SUBMITTED,
    JobState.BLOCKED: TaskState.TASK_STATE_SUBMITTED,
    JobState.QUEUED: TaskState.TASK_STATE_SUBMITTED,
    JobState.RUNNING: TaskState.TASK_STATE_WORKING,
    JobState.WAITING: TaskState.TASK_STATE_WORKING,
    JobState.SUCCEEDED: TaskState.TASK_STATE_COMPLETED,
    JobState.FAILED: TaskState.TASK_STATE_FAILED,
    JobState.CANCELLED: TaskState.TASK_STATE_CANCELED,
    JobState.EXPIRED: TaskState.TASK_STATE_FAILED,
}
_WAITING = {
    JobState.SCHEDULED: "waits for its time",
    JobState.BLOCKED: "waits for other tasks",
    JobState.QUEUED: "waits for a free slot",
    JobState.WAITING: "waits for a signal or a time",
}


def bare_task(job_id: JobId, state: JobState) -> Task:
    """Return a task for callers without `read`: id and state."""
    return Task(id=job_id, context_id=job_id, status=TaskStatus(state=STATES[state]))


def task_of(job: Job, *, history_length: int | None = None, artifacts: bool = True) -> Task:
    """Return a job as a task. `history_length`: the most messages of the history; None: all."""
    return Task(
        id=job.job_id,
        context_id=context_of(job),
        status=status_of(job),
        artifacts=artifacts_of(job) if artifacts else [],
        history=_newest(history_of(job), history_length),
        metadata=struct_of({NAMESPACE: metadata_of(job)}),
    )


def history_length_of(params: GetTaskRequest | ListTasksRequest | SendMessageConfiguration) -> int | None:
    """Return how much history a request wants; None: all. Raises InvalidParamsError."""
    if not params.HasField("history_length"):
        return None
    if params.history_length < 0:
        raise invalid("historyLength", f"{params.history_length} is less than 0")
    return params.history_length


def _newest(messages: list[Message], most: int | None) -> list[Message]:
    return messages if most is None else messages[max(0, len(messages) - most) :]


def metadata_of(job: Job) -> dict[str, Json]:
    """Return what AgentPool knows beyond the protocol."""
    return {"kind": job.kind, "state": job.state.value, "attempt": job.attempt, "progress": job.progress}


def context_of(job: Job) -> str:
    """Return the context of a task; a job that was no message has a context of its own."""
    message = _message_of(job)
    return (message.context_id if message else "") or job.job_id


def changed_at_ms(job: Job) -> int:
    """Return the time of the last change of the state."""
    return job.history[-1].at_ms if job.history else job.finished_at_ms or job.submitted_at_ms


def status_of(job: Job) -> TaskStatus:
    """Return the state of a task, since when, and why."""
    at_ms = changed_at_ms(job)
    found = TaskStatus(state=STATES[job.state], timestamp=timestamp_of(at_ms))
    if words := _words(job):
        found.message.CopyFrom(agent_message(job.job_id, context_of(job), f"{job.state}-{at_ms}", words))
    return found


def agent_message(job_id: str, context: str, part_of_id: str, words: str) -> Message:
    """Return a message of the agent on its task."""
    return Message(
        message_id=f"{job_id}-{part_of_id}",
        task_id=job_id,
        context_id=context,
        role=Role.ROLE_AGENT,
        parts=[Part(text=encodable(words))],
    )


def _words(job: Job) -> str:
    if job.state in _WAITING:
        return _WAITING[job.state] + (f" after the error: {first_line_of(job.error)}" if job.error else "")
    if job.state is JobState.RUNNING:
        return "is being cancelled" if job.cancel_requested else f"attempt {job.attempt} of {job.max_attempts}"
    return "" if job.state is JobState.SUCCEEDED else first_line_of(job.error or job.reason or job.state.value) or ""


def artifacts_of(job: Job) -> list[Artifact]:
    """Return the artifacts of a result.

    A handler may return `{"artifacts": […]}` or `{"parts": […]}` in the protocol's own form. A text is one text part,
    any other value one data part; without a result there is no artifact.
    """
    if job.state is not JobState.SUCCEEDED or job.result is None:
        return []
    if own := _own_artifacts(job.result):
        return own
    is_text = isinstance(job.result, str) and encodable(job.result) == job.result
    return [Artifact(artifact_id=RESULT, parts=[Part(text=str(job.result)) if is_text else data_part(job.result)])]


def _own_artifacts(result: Json) -> list[Artifact]:
    """Return the artifacts that a handler built by itself; none: the result is something else."""
    if not isinstance(result, dict) or result.keys() not in ({"parts"}, {"artifacts"}):
        return []
    document = {"artifacts": [{"artifactId": RESULT, **result}]} if "parts" in result else result
    try:
        found = list(ParseDict(document, Task()).artifacts)
    except UNFIT:
        return []
    if not all(artifact.parts and all(part.WhichOneof("content") for part in artifact.parts) for artifact in found):
        return []
    for place, artifact in enumerate(found, start=1):
        artifact.artifact_id = artifact.artifact_id or f"{RESULT}-{place}"
    return found


def reply_of(job: Job) -> Message | None:
    """Return the message with which a handler answers instead of a task: the result `{"message": {"parts": […]}}`."""
    found = job.result.get("message") if isinstance(job.result, dict) and job.result.keys() == {"message"} else None
    if job.state is not JobState.SUCCEEDED or not isinstance(found, dict) or "parts" not in found:
        return None
    try:
        message = ParseDict({"parts": found["parts"], "metadata": found.get("metadata", {})}, Message())
    except UNFIT:
        return None
    message.MergeFrom(Message(message_id=f"{job.job_id}-reply", context_id=context_of(job), role=Role.ROLE_AGENT))
    return message if message.parts else None


def history_of(job: Job) -> list[Message]:
    """Return the messages of the task, oldest first: the message from which it was made."""
    message = _message_of(job)
    if message is None:
        return []
    message.task_id = job.job_id
    return [message]


def _message_of(job: Job) -> Message | None:
    """Return the message in the payload, or None for a job that came by another way."""
    found = job.payload.get("message") if isinstance(job.payload, dict) else None
    if not isinstance(found, dict) or not found.get("messageId"):
        return None
    try:
        return ParseDict(found, Message(), ignore_unknown_fields=True)
    except UNFIT:
        return None
