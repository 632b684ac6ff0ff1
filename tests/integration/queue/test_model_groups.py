"""Groups of children in random sequences: the bound of a group, resumed parents, and cancelled parents."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from agentpool_core.jobs import GroupMember, JobId, StartedBy
from agentpool_core.queue.completions import Cancelled, Failed, SettleOutcome, Waiting
from tests.integration.queue.machine import PoolMachine, picks, run

GROUP = "ab12"
UNENDED = {"queued", "running", "waiting"}


@dataclass
class Member:
    """A job: a parent, or a child of one."""

    state: str = "queued"
    parent: str | None = None
    cancel: bool = False


@dataclass
class Family:
    """The children of a parent."""

    most: int | None
    fail_fast: bool
    left: int
    signalled: bool = False  # the parent's wait is over
    ended: set[str] = field(default_factory=set)  # only the first end of a child counts

    def note(self, child: str, state: str) -> None:
        if child in self.ended:
            return
        self.ended.add(child)
        self.left -= 1
        self.signalled = self.signalled or self.left == 0 or (self.fail_fast and state != "succeeded")


class Groups(PoolMachine):
    """Parents that start a group of children, and wait for it."""

    @initialize()
    def begin(self):
        self.jobs = {}  # in the order of their places in the stream
        self.families = {}
        self.leases = {}
        self.configure()

    @rule(count=st.integers(1, 2))
    def arrive(self, count):
        for job in self.submit(*(self.request(kind="parent") for _ in range(count))):
            self.jobs[job] = Member()

    @rule(number=picks, size=st.integers(1, 5), most=st.sampled_from([None, 1, 2]), fail_fast=st.booleans())
    def start_group(self, number, size, most, fail_fast):
        """A running parent submits its children, twice after a lost answer."""
        parent = self.pick_running(number, lambda job: self.jobs[job].parent is None and job not in self.families)
        if parent is None:
            return
        members = [
            GroupMember(group=GROUP, number=number, size=size, fail_fast=fail_fast, max_running=most)
            for number in range(size)
        ]
        requests = [
            self.request(kind="child", started_by=StartedBy(job_id=parent, member=member)) for member in members
        ]
        for again in (False, True):
            receipts = self.do(self.producer.submit_many(requests))
            assert [receipt.duplicate for receipt in receipts] == [again] * size
        self.families[parent] = Family(most, fail_fast, size)
        self.jobs |= {request.job_id: Member(parent=parent) for request in requests}

    @rule(number=picks)
    def wait(self, number):
        parent = self.pick_running(number, self.families.__contains__)
        if parent is None:
            return
        lease, job = self.leases.pop(parent), self.jobs[parent]
        waiting = Waiting(job_id=parent, token=lease.token, signals=((f"~{GROUP}", 1),))
        (outcome,) = self.do(self.consumers["w1"].settle([waiting]))
        if job.cancel:
            assert outcome is SettleOutcome.CANCELLED
            self.end(parent, "cancelled")
        else:
            assert outcome is SettleOutcome.WAITING
            job.state = "queued" if self.families[parent].signalled else "waiting"

    @rule(limit=st.integers(1, 6))
    def start(self, limit):
        expected = self.take(limit)
        leases = self.claim(limit)
        assert [lease.job_id for lease in leases] == expected
        self.leases |= {lease.job_id: lease for lease in leases}

    def take(self, limit):
        """Return the jobs that start: in order of age, at most the group's bound of each group."""
        taken = []
        for name, job in self.jobs.items():
            family = self.families.get(job.parent)
            running = sum(each.parent == job.parent and each.state == "running" for each in self.jobs.values())
            full = family is not None and family.most is not None and running >= family.most
            if job.state == "queued" and not full and len(taken) < limit:
                job.state = "running"
                taken.append(name)
        return taken

    @rule(number=picks, how=st.sampled_from(["succeeded", "succeeded", "failed", "cancelled", "drain"]))
    def finish(self, number, how):
        name = self.pick_running(number, lambda _: True)
        if name is None:
            return
        lease, job = self.leases.pop(name), self.jobs[name]
        ids = {"job_id": lease.job_id, "token": lease.token}
        match how:
            case "succeeded":
                self.succeed([lease])
            case "failed":
                self.do(self.consumers["w1"].settle([Failed(**ids, error="no", retry=False)]))
            case "cancelled":
                self.do(self.consumers["w1"].settle([Cancelled(**ids)]))
            case _:
                self.drain(lease)
        if how != "succeeded" and job.cancel:
            how = "cancelled"
        if how == "drain":
            job.state = "queued"
        else:
            self.end(name, how)

    def end(self, name, state):
        """End a job; a cancelled parent cancels its children."""
        job = self.jobs[name]
        job.state = state
        if job.parent in self.families:
            family, parent = self.families[job.parent], self.jobs[job.parent]
            family.note(name, state)
            if family.signalled and parent.state == "waiting":
                parent.state = "queued"
        if state == "cancelled" and name in self.families:
            self.settle_down()
            for child in [child for child, each in self.jobs.items() if each.parent == name]:
                self.stop(child)

    def stop(self, name):
        job = self.jobs[name]
        if job.state == "running":
            job.cancel = True
        elif job.state in UNENDED:
            self.end(name, "cancelled")

    @rule(number=picks)
    def cancel(self, number):
        unended = [name for name, job in self.jobs.items() if job.state in UNENDED]
        if unended:
            name = unended[number % len(unended)]
            self.do(self.producer.cancel(JobId(name)))
            self.stop(name)

    def pick_running(self, number, of):
        names = [name for name, job in self.jobs.items() if job.state == "running" and of(name)]
        return names[number % len(names)] if names else None

    @invariant()
    def worlds_agree(self):
        if not self.registered:
            return
        for name, job in self.jobs.items():
            found = self.job(name)
            assert (found.state.value, found.cancel_requested) == (job.state, job.cancel), name

    def run_out(self):
        """Every parent resumes: no end of a child was lost."""
        while any(job.state in {"queued", "running"} for job in self.jobs.values()):
            self.start(100)
            for name in list(self.leases):
                self.succeed([self.leases.pop(name)])
                self.end(name, "succeeded")
        assert not any(job.state == "waiting" for job in self.jobs.values())


def test_groups_keep_their_bound_and_resume_their_parent_once(redis_url):
    """Random groups, ends, requeues and cancels of parents and children."""
    run(Groups, redis_url)
