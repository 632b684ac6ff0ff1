"""Groups of children: `ctx.map` and `ctx.gather` start jobs together, and wait for their ends without a slot.

A group is a step of the journal. The ids of the children derive from the parent's id and the name of that step, so an
attempt that repeats the submit after the loss of a worker gets the same children. The queue keeps how each child ended
with the parent (`agentpool_core.queue.groups`), and sends the parent a signal; `waits` suspends the parent meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.errors import IdempotencyConflictError
from agentpool_core.jobs import GroupMember, JobId, JobState, Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode
from agentpool_core.queue.groups import ChildEnd, GroupChange
from agentpool_worker.durable.steps import check_name
from agentpool_worker.exceptions import ChildFailedError, ChildrenChangedError

if TYPE_CHECKING:
    from agentpool_core.jobs import JobRequest, Lease, StartedBy
    from agentpool_worker.durable.steps import StepCall, Steps
    from agentpool_worker.durable.waits import Waits

_PREFIX = "~map:"  # of the name of a group's step
MOST_CHILDREN = 10_000  # of a group
_LONGEST_ROOT_CHARS = 80  # of the parent's id within the id of a child; a longer id is replaced by its digest


class GroupStore(Protocol):
    """How a group reaches the queue."""

    async def start_children(self, requests: Sequence[JobRequest]) -> None:
        """Submit children; children that were submitted before stay as they are."""

    async def child_ends(self, lease: Lease, group: str, size: int) -> list[ChildEnd | None]:
        """Return how the children ended, by number; None: not yet."""

    async def change_group(
        self, lease: Lease, change: GroupChange, group: str, ids: Sequence[tuple[int, JobId]], how: int | str
    ) -> tuple[int, list[int]]:
        """Change children (`how`: the run, or the reason of a stop).

        Return how many children have not ended, and the numbers of those without a record.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPolicy:
    """How a group runs."""

    return_exceptions: bool = False  # all children end; else the first failure cancels the rest
    max_running: int | None = None  # children at once; None: no limit of the group's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Children that start together."""

    lease: Lease  # of the parent
    name: str  # hexadecimal; unique within the parent
    requests: Sequence[JobRequest]  # by number
    policy: GroupPolicy
    run: int = 1  # grows when children that did not succeed run again

    @property
    def size(self) -> int:
        """Return the number of children."""
        return len(self.requests)

    @property
    def signal(self) -> str:
        """Return the name of the signal that ends the wait for the children."""
        return f"~{self.name}"

    def child_id(self, number: int) -> JobId:
        """Return the id of a child: the same in every attempt."""
        parent = self.lease.job_id
        root = parent if len(parent) <= _LONGEST_ROOT_CHARS else _digest(parent)
        return JobId(f"{root}:{self.name}:{number}")

    def ids(self) -> list[tuple[int, JobId]]:
        """Return number and id of each child."""
        return [(number, self.child_id(number)) for number in range(self.size)]

    def submits(self) -> list[JobRequest]:
        """Return the complete requests."""
        return [
            replace(request, job_id=self.child_id(number), started_by=replace(_starter(request), member=member))
            for number, request in enumerate(self.requests)
            for member in [self._member(number)]
        ]

    def _member(self, number: int) -> GroupMember:
        return GroupMember(
            group=self.name,
            number=number,
            size=self.size,
            fail_fast=not self.policy.return_exceptions,
            max_running=self.policy.max_running,
        )


class Children:
    """The groups of one attempt at a job."""

    def __init__(self, steps: Steps, waits: Waits, store: GroupStore) -> None:
        self._steps = steps
        self._waits = waits
        self._store = store

    def begin(self, name: str) -> StepCall:
        """Name a group, in the caller's task. Raises StepBranchError, WaitRefusedError inside a step."""
        check_name(name)
        self._steps.share(_PREFIX + name)
        return self._waits.begin_own(_PREFIX + name)

    async def run(self, call: StepCall, requests: Sequence[JobRequest], policy: GroupPolicy) -> list[Any]:
        """Return the results of the children, in order; with `return_exceptions` an error in place of a result.

        Does not return while children run: the attempt ends with CancelledError. Otherwise raises ChildFailedError for
        the first child that did not succeed, and cancels the rest. Raises ChildrenChangedError for other children
        than in an earlier attempt.
        """
        _check_size(call, len(requests))
        stored = await self._steps.reach(call)
        group = Group(
            lease=self._steps.journal.lease,
            name=_digest(f"{call.name} {len(requests)} {policy.return_exceptions}"),
            requests=requests,
            policy=policy,
        )
        group = await (self._start(call, group) if stored is None else self._continue(call, group, stored))
        if (stored := self._steps.journal.find(call.name)) is None or stored.outcome is StepOutcome.WAITING:
            await self._wait(call, group)
        return await self._finish(call, group)

    async def _start(self, call: StepCall, group: Group) -> Group:
        try:
            await self._store.start_children(group.submits())
        except IdempotencyConflictError as error:
            raise _changed(call, f"child {error.job_id} had a different payload") from error
        await self._record(call, StepOutcome.WAITING if group.size else StepOutcome.SUCCEEDED, group)
        return group

    async def _continue(self, call: StepCall, group: Group, stored: Step) -> Group:
        """Return the group of an earlier attempt. Children that did not succeed run again, as a failed step does."""
        if stored.result["group"] != group.name:
            raise _changed(call, f"the group had {stored.result['size']} children, or a different return_exceptions")
        group = replace(group, run=stored.result["run"])
        if stored.outcome is not StepOutcome.FAILED or self._steps.journal.goes_on_after(call.name):
            return group
        again = replace(group, run=group.run + 1)
        await self._change(again, GroupChange.CLEAR, again.run)
        _, gone = await self._change(again, GroupChange.RERUN, again.run)
        if gone:
            requests = again.submits()
            await self._store.start_children([requests[number] for number in gone])
        await self._record(call, StepOutcome.WAITING, again)
        return again

    async def _wait(self, call: StepCall, group: Group) -> None:
        """Return when the group has ended; suspend the attempt before."""
        await self._waits.wait_without_limit(call, group.signal, group.run)

    async def _finish(self, call: StepCall, group: Group) -> list[Any]:
        ends = await self._store.child_ends(group.lease, group.name, group.size)
        results = [_result_of(group.child_id(number), end) for number, end in enumerate(ends)]
        stored = self._steps.journal.find(call.name)
        failed = next((result for result in results if isinstance(result, ChildFailedError)), None)
        if failed is None or group.policy.return_exceptions:
            if stored is None or stored.outcome is not StepOutcome.SUCCEEDED:
                await self._record(call, StepOutcome.SUCCEEDED, group)
            return results
        if stored is None or stored.outcome is not StepOutcome.FAILED:
            await self._change(group, GroupChange.STOP, _reason_of(failed))
            await self._record(call, StepOutcome.FAILED, group)
        raise failed

    async def _change(self, group: Group, change: GroupChange, how: int | str) -> tuple[int, list[int]]:
        return await self._store.change_group(group.lease, change, group.name, group.ids(), how)

    async def _record(self, call: StepCall, outcome: StepOutcome, group: Group) -> None:
        stored = self._steps.journal.find(call.name)
        result = {"group": group.name, "size": group.size, "run": group.run}
        step = self._steps.step_of(call, outcome, self._steps.clock(), result, begun=stored)
        await self._steps.journal.write(step)


def _result_of(job_id: JobId, end: ChildEnd | None) -> Any:
    """Return the result of a child, or its ChildFailedError. None: cut off by the failure of another child."""
    if end is None:
        return None
    if end.state is JobState.SUCCEEDED:
        return decode(end.text)
    return ChildFailedError(job_id, end.state.value, end.text)


def _reason_of(failed: ChildFailedError) -> str:
    """Return the reason of jobs that are cancelled because of a child, in the words of lib/children.lua."""
    if failed.error.startswith("upstream:"):
        return failed.error
    line = failed.error.partition("\n")[0][:200]
    return f"upstream: job {failed.job_id} {failed.state}{f': {line}' if line else ''}"


def _check_size(call: StepCall, size: int) -> None:
    if size > MOST_CHILDREN:
        problem = f"{size} children are more than {MOST_CHILDREN}"
        raise ChildrenChangedError(_name_of(call), problem, "start groups in sequence, or give each child more work")


def _changed(call: StepCall, problem: str) -> ChildrenChangedError:
    remedy = "compute kinds and payloads of children in a step, which returns the same values in every attempt"
    return ChildrenChangedError(_name_of(call), f"{problem} in an earlier attempt", remedy)


def _name_of(call: StepCall) -> str:
    return call.name.removeprefix(_PREFIX)


def _starter(request: JobRequest) -> StartedBy:
    assert request.started_by is not None  # noqa: S101  # the context has set it
    return request.started_by


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
