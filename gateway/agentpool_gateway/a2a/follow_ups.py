"""A message to a task that asks for input: the signal for which the task's handler waits.

A wait for the signal `message` is a turn of the conversation, open to each caller that may submit and read. A wait for
a different signal may be an approval, and needs the verb of signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2a.utils.errors import UnsupportedOperationError

from agentpool_core.jobs import Job, JobId, Receipt
from agentpool_gateway.a2a.errors import invalid
from agentpool_gateway.a2a.messages import FOLLOW_UP, Answer, answer_of
from agentpool_gateway.a2a.tasks import NAMESPACE, asks, context_of
from agentpool_gateway.access.authority import Verb

if TYPE_CHECKING:
    from a2a.types import SendMessageRequest

    from agentpool_gateway.access.admission import Admission


async def deliver(admission: Admission, params: SendMessageRequest, job_id: JobId) -> Receipt:
    """Send the signal of a message to a task; return the receipt of the task's job, which is not new.

    Raises UnknownJobError, and the error for a task that waits for no such message.
    """
    if not await admission.may_read():
        raise UnsupportedOperationError("a follow-up needs the permission to read the task")
    job = await admission.queue.inspector.job(admission.pool, job_id)
    if params.message.context_id and params.message.context_id != context_of(job):
        raise invalid("message.contextId", f"not the context of task {job_id}; leave it out")
    answer = answer_of(params, caller=admission.request.caller.name, context=context_of(job))
    if not await admission.queue.producer.has_signal(job_id, answer.signal_id):
        await _send(admission, job, answer)
    return Receipt(job_id=job_id, state=job.state, duplicate=True, queue_depth=0)


async def _send(admission: Admission, job: Job, answer: Answer) -> None:
    if job.state.terminal:
        raise ended(job)
    name = _signal_of(job, answer)
    if name != FOLLOW_UP:
        await admission.request.admit(Verb.MANAGE)
    value = answer.whole if name == FOLLOW_UP else answer.content
    await admission.queue.producer.signal(job.job_id, name, value, signal_id=answer.signal_id)


def _signal_of(job: Job, answer: Answer) -> str:
    """Return the name of the signal for which the task waits and which the message means."""
    if not asks(job):
        raise UnsupportedOperationError(
            f"task {job.job_id} does not wait for a message; send a new one, with its contextId or referenceTaskIds",
            {"taskId": job.job_id},
        )
    names = sorted(set(job.waits_for))
    if answer.signal is None and len(names) == 1:
        return names[0]
    if answer.signal not in names:
        problem = f"not a signal of the task; name one of {', '.join(names)}"
        raise invalid(f"message.metadata[{NAMESPACE!r}].signal", problem)
    return answer.signal


def ended(job: Job) -> UnsupportedOperationError:
    """Return the error for a task that has ended."""
    return UnsupportedOperationError(f"task {job.job_id} has ended ({job.state.value})", {"taskId": job.job_id})
