"""A job as a task: state, status message, artifacts, history and metadata. Pure.

The status message is the first line of an error at most: a remote agent never sees a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

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

from agentpool_core.jobs import Job, JobId, JobState, Json, SignalWait, StepOutcome
from agentpool_core.queue.steps import WAIT
from agentpool_core.text import encodable, first_line_of
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.values import UNFIT, data_part, struct_of, timestamp_of

NAMESPACE = "agentpool.dev/job"  # of our entries in free-form metadata
RESULT = "result"  # id of the artifact of a result
_ALSO = {  # of jobs that have begun, or that ask for input
    JobState.SCHEDULED: (TaskState.TASK_STATE_WORKING,),
    JobState.QUEUED: (TaskState.TASK_STATE_WORKING,),
    JobState.WAITING: (TaskState.TASK_STATE_INPUT_REQUIRED,),
}
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
STATES_OF = {  # all states that a task may have with a job in this state
    state: {found, *_ALSO.get(state, ())} for state, found in STATES.items()
}
_BETWEEN = frozenset({JobState.SCHEDULED, JobState.QUEUED})  # states before the start, and between two attempts
_ASKING = TaskState.TASK_STATE_INPUT_REQUIRED
_WAITING = {
    JobState.SCHEDULED: "waits for its time",
    JobState.BLOCKED: "waits for other tasks",
    JobState.QUEUED: "waits for a free slot",
    JobState.WAITING: "waits for a time",
}


def bare_task(job_id: JobId, state: JobState) -> Task:
    """Return a task for callers without `read`: id and state."""
    return Task(id=job_id, context_id=job_id, status=TaskStatus(state=STATES[state]))


def asks(job: Job) -> bool:
    """Return whether a job waits for input."""
    return job.state is JobState.WAITING and bool(job.waits_for)


def closed_by_sender(job: Job) -> bool:
    """Return whether a task has ended after a follow-up or by a cancellation, so that the sender knows the task."""
    answered = any(step.name.startswith(WAIT) and step.outcome is StepOutcome.SUCCEEDED for step in job.steps)
    return job.state.terminal and (answered or job.state is JobState.CANCELLED)


def state_of(job: Job) -> TaskState:
    """Return the state of a task; a task that has begun is working, also while its job waits for a slot again."""
    if job.state in _BETWEEN and job.claimed_at_ms:
        return TaskState.TASK_STATE_WORKING
    return _ASKING if asks(job) else STATES[job.state]


def task_of(job: Job, *, waits: Sequence[SignalWait] = (), history_length: int | None = None) -> Task:
    """Return a job as a task, without artifacts. `waits`: its conversation; `history_length`: most messages, or all."""
    return Task(
        id=job.job_id,
        context_id=context_of(job),
        status=status_of(job),
        history=_newest(history_of(job, waits), history_length),
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
    """Return fields of the job beyond the protocol."""
    return {"kind": job.kind, "state": job.state.value, "attempt": job.attempt, "progress": job.progress}


def context_of(job: Job) -> str:
    """Return the context of a task; a job that was no message has a context of its own."""
    message = _message_of(job.payload)
    return (message.context_id if message else "") or job.job_id


def changed_at_ms(job: Job) -> int:
    """Return the time of the last change of the state."""
    return job.history[-1].at_ms if job.history else job.finished_at_ms or job.submitted_at_ms


def status_of(job: Job) -> TaskStatus:
    """Return the state of a task, since when, and why."""
    at_ms = changed_at_ms(job)
    found = TaskStatus(state=state_of(job), timestamp=timestamp_of(at_ms))
    if asks(job):
        found.message.CopyFrom(_question_of(job, at_ms))
    elif words := _words(job):
        found.message.CopyFrom(agent_message(job.job_id, context_of(job), f"{job.state}-{at_ms}", words))
    return found


def _question_of(job: Job, at_ms: int) -> Message:
    """Return the message that asks for input: the handler's question, or else the names of the signals."""
    names = sorted(set(job.waits_for))
    words = f"waits for {' or '.join(f'the signal {name!r}' for name in names)}"
    return Message(
        message_id=f"{job.job_id}-{job.state}-{at_ms}",
        task_id=job.job_id,
        context_id=context_of(job),
        role=Role.ROLE_AGENT,
        parts=[Part(text=words) if job.question is None else part_of(job.question)],
        metadata=struct_of({NAMESPACE: {"waits_for": names}}),
    )


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
        return _WAITING[job.state] + (f" after the error: {first_line_of(job.last_error)}" if job.last_error else "")
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
    return [Artifact(artifact_id=RESULT, parts=[part_of(job.result)])]


def part_of(value: Json) -> Part:
    """Return a value as a part: a text as it is, any other JSON as data."""
    is_text = isinstance(value, str) and encodable(value) == value
    return Part(text=str(value)) if is_text else data_part(value)


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


def history_of(job: Job, waits: Sequence[SignalWait] = ()) -> list[Message]:
    """Return the messages of the task, oldest first: the message from which it was made, questions and answers.

    An open question is the message of the status.
    """
    first = _message_of(job.payload)
    turns = [message for number, wait in enumerate(waits) for message in _turn_of(job, wait, number)]
    found = [first, *turns] if first is not None else turns
    for message in found:
        message.task_id, message.context_id = job.job_id, context_of(job)
    return found


def _turn_of(job: Job, wait: SignalWait, number: int) -> list[Message]:
    """Return the messages of a wait that has ended: question and answer, as far as there are any."""
    if wait.ended_at_ms is None:
        return []
    name = f"{job.job_id}-{wait.signal}-{wait.began_at_ms}-{number}"
    found = []
    if wait.question is not None:
        found.append(Message(message_id=f"{name}-question", role=Role.ROLE_AGENT, parts=[part_of(wait.question)]))
    if wait.answered:
        own = Message(message_id=name, role=Role.ROLE_USER, parts=[part_of(wait.value)])
        found.append(_message_of(wait.value) or own)
    return found


def _message_of(value: Json) -> Message | None:
    """Return the message in a payload or a signal, or None for a job that was no message."""
    found = value.get("message") if isinstance(value, dict) else None
    if not isinstance(found, dict) or not found.get("messageId"):
        return None
    try:
        return ParseDict(found, Message(), ignore_unknown_fields=True)
    except UNFIT:
        return None
