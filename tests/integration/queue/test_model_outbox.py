"""The outbox in random sequences: a change that a webhook asks for is delivered until its receiver has it.

Senders die with messages in hand, receivers refuse, and webhooks come and go.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from agentpool_core.jobs import JobId
from agentpool_core.queue.completions import Failed
from agentpool_core.queue.webhooks import Change, DeliveryOutcome, Webhook, Webhooks
from tests.integration.queue.machine import QUANTUM_MS, PoolMachine, picks, run

URL = "https://receiver.example.org/"
ENDS = {"succeed": Change.SUCCEEDED, "fail": Change.FAILED, "cancel": Change.CANCELLED}


class Outbox(PoolMachine):
    """Jobs with webhooks for some of their ends. A message is known by its job, webhook and change."""

    @initialize()
    def begin(self):
        self.now = 0
        self.states = {}  # job -> None while it waits, or its end
        self.hooks = {}  # job -> name -> changes
        self.due = {}  # message -> quantum from which a sender may take it
        self.in_hand = []  # messages that a sender has taken
        self.gone = set()  # messages of deleted webhooks, which a take removes
        self.webhooks = Webhooks(self.redis, self.pool)
        self.configure(max_attempts=1, retention_dead_ms=10**13)

    @rule(
        names=st.lists(st.sampled_from(["one", "two"]), unique=True),
        changes=st.sets(st.sampled_from(sorted(ENDS.values())), min_size=1),
    )
    def arrive(self, names, changes):
        (job,) = self.submit(self.request())
        self.states[job], self.hooks[job] = None, {}
        for name in names:
            self.put(job, name, changes)

    def put(self, job, name, changes):
        hook = Webhook(name=name, url=URL + name, changes=tuple(sorted(changes)))
        self.do(self.webhooks.put(job, hook))
        if name not in self.hooks[job] and self.states[job] in changes:
            self.due[job, name, self.states[job]] = self.now
        self.hooks[job][name] = {*changes}

    def pick(self, number, *, ended):
        jobs = sorted(job for job, state in self.states.items() if (state is not None) == ended)
        return jobs[number % len(jobs)] if jobs else None

    @rule(number=picks, name=st.sampled_from(["one", "two"]))
    def put_late(self, number, name):
        """A webhook that comes after the end gets its message at once."""
        if (job := self.pick(number, ended=True)) is not None:
            self.put(job, name, {*ENDS.values()})

    @rule(number=picks, name=st.sampled_from(["one", "two"]))
    def delete(self, number, name):
        """Messages of a webhook that is gone are dropped."""
        job = self.pick(number, ended=True)
        if job is not None and name in self.hooks[job]:
            self.do(self.webhooks.delete(job, name))
            del self.hooks[job][name]
            self.gone |= {message for message in self.due if message[:2] == (job, name)}
            self.due = {message: at for message, at in self.due.items() if message not in self.gone}

    @rule(how=st.sampled_from(sorted(ENDS)))
    def end(self, how):
        waiting = [job for job, state in self.states.items() if state is None]
        if not waiting:
            return
        if how == "cancel":
            job = waiting[0]
            self.do(self.producer.cancel(JobId(job)))
        else:
            (lease,) = self.claim(1)
            job = lease.job_id
            failed = Failed(job_id=job, token=lease.token, error="no")
            for _ in range(2):  # a repeated settle sends no second message
                self.succeed([lease]) if how == "succeed" else self.do(self.consumers["w1"].settle([failed]))
        self.states[job] = ENDS[how]
        for name, changes in self.hooks[job].items():
            if ENDS[how] in changes:
                self.due[job, name, ENDS[how]] = self.now

    @rule(limit=st.integers(1, 4), reserve=st.integers(1, 3))
    def take(self, limit, reserve):
        """Two senders never hold the same message, unless the reservation of the first has ended."""
        taken = self.do(self.webhooks.take(limit=limit, reserve_ms=reserve * QUANTUM_MS))
        messages = [(each.job_id, each.webhook.name, each.change) for each in taken]
        ready = {message for message, at in self.due.items() if at <= self.now}
        assert {*messages} <= ready
        assert len(messages) + len(self.gone) >= min(limit, len(ready))
        for each, message in zip(taken, messages, strict=True):
            self.due[message] = self.now + reserve
            self.in_hand.append((each, message))

    @rule(number=picks, outcome=st.sampled_from(list(DeliveryOutcome)), later=st.integers(1, 3))
    def report(self, number, outcome, later):
        if not self.in_hand:
            return
        each, message = self.in_hand.pop(number % len(self.in_hand))
        self.do(self.webhooks.report(each, outcome, "200", retry_after_ms=later * QUANTUM_MS))
        if outcome is not DeliveryOutcome.RETRYING:
            self.due.pop(message, None)
        elif message in self.due:
            self.due[message] = self.now + later

    @rule(quanta=st.integers(1, 4))
    def pass_time(self, quanta):
        self.now += quanta
        self.jump(quanta * QUANTUM_MS)

    def run_out(self):
        """Every message that was not delivered is handed out, once."""
        self.now += 10
        self.jump(10 * QUANTUM_MS)
        found = []
        while taken := self.do(self.webhooks.take(limit=50, reserve_ms=QUANTUM_MS)):
            found += [(each.job_id, each.webhook.name, each.change) for each in taken]
            for each in taken:
                self.do(self.webhooks.report(each, DeliveryOutcome.DELIVERED, "200"))
        assert sorted(found) == sorted(self.due)
        for job, state in self.states.items():
            if state is None:
                self.do(self.producer.cancel(JobId(job)))


def test_each_change_is_delivered_until_its_receiver_has_it(redis_url):
    """Random ends, webhooks, refusals and dead senders."""
    run(Outbox, redis_url)
