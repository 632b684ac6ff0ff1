"""The queue's promises as plain Python: the oracle that the model test compares with a real server.

Time is a single clock of offsets (ms) that only jumps move; every deadline is far from the edge of a jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PATIENCE_MS = {"critical": 0, "task": 2, "info": 5}
RANK = {"critical": 0, "task": 1, "info": 2}
LEASE_MS = 60_000
WAIT_MS = 10_000  # of every second wait; the remaining waits have no limit
SUSPECT_LOSSES, UNEXPLAINED_MAX = 2, 4
WAITING = {"queued", "scheduled", "blocked"}
REPEATED = {
    ("succeeded", "succeeded"): "applied",
    ("failed", "failed"): "dead",
    ("dead", "failed"): "dead",
    ("failed", "cancelled"): "cancelled",
    ("dead", "cancelled"): "cancelled",
    ("cancelled", "cancelled"): "cancelled",
    ("drain", "cancelled"): "cancelled",
    ("preempted", "cancelled"): "cancelled",
    ("failed", "scheduled"): "retrying",
    ("drain", "queued"): "returned",
    ("preempted", "queued"): "returned",
    ("waiting", "waiting"): "waiting",
    ("waiting", "cancelled"): "cancelled",
    ("exhausted", "queued"): "returned",
    ("exhausted", "failed"): "dead",
    ("exhausted", "cancelled"): "cancelled",
}


@dataclass
class ModelJob:
    id: str
    priority: str
    route: str
    max_attempts: int
    runs_anyway: bool = False  # after any end of its parents
    for_failures: bool = False  # likewise, but only if one of them did not succeed
    saw_failure: bool = False
    key: str | None = None  # limits by key apply to it
    state: str = "queued"
    attempt: int = 0
    token: int = 0
    due: int | None = None
    expires: int | None = None
    parents: set[str] = field(default_factory=set)  # that have not ended
    kids: list[str] = field(default_factory=list)
    worker: str | None = None
    holder: str | None = None  # of the latest lease, which has ended where `worker` is None
    cancel: bool = False
    losses: int = 0
    alone: bool = False
    entry: tuple[int, int] | None = None  # reported by the server: when the job became ready
    signals: int = 0  # of the only signal name in this model
    waits: int = 0  # that were begun; each takes the next signal
    waited: set[tuple[int, str]] = field(default_factory=set)  # attempt and worker of each
    wait_ends: int | None = None
    parked: bool = False  # scheduled with an entry: waits for its retry
    steps: dict[int, str] = field(default_factory=dict)  # name by number
    chunks: list[tuple[int, int]] = field(default_factory=list)  # token and number of each

    def place(self) -> str:
        return f":{self.route}:{self.priority}"

    @property
    def is_unneeded(self) -> bool:
        """Whether every parent has succeeded, and the job is for failures only."""
        return self.for_failures and not self.saw_failure

    @property
    def suspect(self) -> bool:
        return self.state == "queued" and self.losses >= SUSPECT_LOSSES


class Model:
    """The queue's promises."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[str, ModelJob] = {}
        self.workers: dict[str, int] = {}  # name -> lease's end
        self.limits: dict[str, int | None] = {"a": 2, "default": None}
        self.max_of_key: int | None = None  # jobs of a key at once; None: no limit by key
        self.paused = False
        self.reserved: str | None = None  # the worker that takes suspects, one after another
        self.submitted = 0
        self.started = 0
        self.ending: list[tuple[ModelJob, str]] = []
        self.ended = dict.fromkeys(("succeeded", "failed", "cancelled", "expired"), 0)

    def of_state(self, *states: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in states]

    # Moves

    def submit(self, job: ModelJob, after: list[str], delay: int, ttl: int | None) -> None:
        self.submitted += 1
        self.jobs[job.id] = job
        job.expires = None if ttl is None else self.now + ttl
        job.due = self.now + delay if delay else None
        doomed = False
        for parent in map(self.jobs.__getitem__, after):
            if parent.state in {"failed", "cancelled", "expired"}:
                doomed = doomed or not job.runs_anyway
                job.saw_failure = True
            elif parent.state != "succeeded":
                job.parents.add(parent.id)
        if doomed or (after and not job.parents and job.is_unneeded):
            self.end(job, "cancelled")
            return
        for parent in job.parents:
            self.jobs[parent].kids.append(job.id)
        job.state = "blocked" if job.parents else "scheduled" if delay else "queued"

    def end(self, job: ModelJob, state: str) -> None:
        job.state = state
        job.worker, job.alone = None, False
        self.ended[state] += 1
        self.ending.append((job, state))

    def conclude(self) -> None:
        """A call processes the children of ended parents after all of its own work."""
        while self.ending:
            job, state = self.ending.pop(0)
            for kid in [self.jobs[name] for name in job.kids]:
                if kid.state != "blocked" or job.id not in kid.parents:
                    continue
                if state == "succeeded" or kid.runs_anyway:
                    kid.parents.discard(job.id)
                    kid.saw_failure = kid.saw_failure or state != "succeeded"
                    if not kid.parents and kid.is_unneeded:
                        self.end(kid, "cancelled")
                    elif not kid.parents:
                        kid.state = "scheduled" if kid.due is not None and kid.due > self.now else "queued"
                else:
                    self.end(kid, "cancelled")
            job.kids.clear()

    def score(self, job: ModelJob) -> tuple[int, int, tuple[int, int], str]:
        assert job.entry is not None
        return (job.entry[0] + PATIENCE_MS[job.priority], RANK[job.priority], job.entry, job.place())

    def claim(self, worker: str, limit: int) -> list[ModelJob]:
        if self.paused or self.workers.get(worker, -1) <= self.now:
            return []
        turn = self.turn_of(worker)
        if turn is not None:
            return [self.start(job, worker) for job in turn]
        taken: list[ModelJob] = []
        for job in sorted((job for job in self.of_state("queued") if not job.suspect), key=self.score):
            if len(taken) == limit:
                break
            if job.state != "queued" or not self.room(job):
                continue
            if job.expires is not None and job.expires <= self.now:
                # The children come after every job that is being taken, because they become ready only at the end.
                continue
            taken.append(self.start(job, worker))
        return taken

    def start(self, job: ModelJob, worker: str) -> ModelJob:
        job.alone = job.suspect
        job.state, job.worker, job.holder, job.expires = "running", worker, worker, None
        job.token += 1
        job.attempt += 1
        self.started += 1
        return job

    def turn_of(self, worker: str) -> list[ModelJob] | None:
        """The quarantine's answer for this worker: a suspect, no job while reserved, or None for an ordinary claim."""
        if not self.of_state("queued"):
            return None
        suspects = [job for job in self.jobs.values() if job.suspect]
        alone = any(job.alone for job in self.of_state("running"))
        self.reserved = self.reserved if suspects or alone else None
        busy = any(job.worker == worker for job in self.of_state("running"))
        if busy and self.reserved == worker:
            return []
        if not suspects or alone or (busy and self.reserved is not None):
            return None
        able = [job for job in suspects if self.room(job)]
        if not able:
            self.reserved = None if self.reserved == worker else self.reserved
            return None
        self.reserved = worker
        return [] if busy else [min(able, key=lambda job: (job.entry, job.id))]

    def room(self, job: ModelJob) -> bool:
        running = self.of_state("running")
        limit = self.limits[job.route]
        if limit is not None and sum(each.route == job.route for each in running) >= limit:
            return False
        if self.max_of_key is None or job.key is None:
            return True
        return sum(each.key == job.key for each in running) < self.max_of_key

    def settle(self, job: ModelJob, token: int, verb: str, by: str) -> str:  # noqa: PLR0911  # one line per outcome
        if token != job.token or by != job.holder:
            return "stale"
        if verb == "waiting" and job.state == "queued" and (job.attempt + 1, by) in job.waited:
            return "waiting"
        if job.state != "running":
            return REPEATED.get((verb, job.state), "stale")
        if verb == "succeeded":
            self.end(job, "succeeded")
            return "applied"
        if verb == "cancelled" or job.cancel:
            self.end(job, "cancelled")
            return "cancelled"
        if verb == "exhausted":
            job.attempt -= job.losses == 0
            self.suffer(job, explained=True)
            return "returned" if job.state == "queued" else "dead"
        was_alone, job.alone, job.worker = job.alone, False, None
        if verb == "waiting":
            return self.suspend(job, by)
        if verb in {"drain", "preempted"}:
            job.attempt -= 1
            job.state = "queued"
            return "returned"
        if verb == "failed" and job.attempt < job.max_attempts:
            job.state, job.due, job.parked = "scheduled", self.now + 10_000, True
            job.losses = 0 if was_alone else job.losses
            return "retrying"
        self.end(job, "failed")
        return "dead"

    def suspend(self, job: ModelJob, by: str) -> str:
        job.waits += 1
        job.waited.add((job.attempt, by))
        job.attempt -= 1
        job.state = "queued" if job.signals >= job.waits else "waiting"
        job.wait_ends = self.now + WAIT_MS if job.waits % 2 else None
        return "waiting"

    def signal(self, job: ModelJob) -> str:
        if job.state in self.ended:
            return "ended"
        job.signals += 1
        if job.state == "waiting" and job.signals >= job.waits:
            job.state = "queued"
        return "stored"

    def may_report(self, job: ModelJob, token: int, by: str) -> bool:
        """Whether this lease may write steps and output."""
        return job.state == "running" and job.token == token and job.worker == by

    def emitted(self, job: ModelJob) -> int:
        """The number of chunks of the present lease."""
        return sum(token == job.token for token, _ in job.chunks)

    def agree(self, worker: str, held: dict[str, int]) -> None:
        """Jobs that the queue holds for the worker, and the worker does not know, are requeued; no attempt counts."""
        for job in [job for job in self.of_state("running") if job.worker == worker]:
            if held.get(job.id) != job.token:
                self.settle(job, job.token, "drain", worker)
        self.conclude()

    def cancel(self, job: ModelJob) -> str:
        if job.state == "running":
            job.cancel = True
            return "requested"
        if job.state not in {*WAITING, "waiting"}:
            return "finished"
        self.end(job, "cancelled")
        self.conclude()
        return "cancelled"

    def suffer(self, job: ModelJob, *, explained: bool) -> None:
        """Apply the loss of a worker to its job: the last attempt stays, unless the job ran alone."""
        job.losses += 1
        if job.alone and (explained or job.losses >= UNEXPLAINED_MAX):
            self.end(job, "failed")
            return
        job.state, job.worker, job.alone = "queued", None, False
        job.attempt = min(job.attempt, job.max_attempts - 1)

    def lose(self, worker: str, *, crashed: bool = False, explained: bool = False, culprit: str | None = None) -> int:
        held = [job for job in self.of_state("running") if job.worker == worker]
        self.reserved = None if self.reserved == worker else self.reserved
        for job in held:
            if job.cancel:
                self.end(job, "cancelled")
            elif crashed and culprit in {None, job.id}:
                self.suffer(job, explained=explained)
            elif crashed:
                job.state, job.worker, job.alone = "queued", None, False
                job.attempt -= 1
            elif job.attempt >= job.max_attempts:
                self.end(job, "failed")
            else:
                job.state, job.worker, job.alone = "queued", None, False
        self.workers.pop(worker, None)
        return len(held)

    def maintain(self) -> tuple[int, int, int]:
        lost = [name for name, until in self.workers.items() if until <= self.now]
        recovered = sum(self.lose(name, crashed=True) for name in lost)
        expired = 0
        for job in sorted(self.of_state(*WAITING), key=lambda job: (job.expires or 0, job.id)):
            if job.state in WAITING and job.expires is not None and job.expires <= self.now:
                self.end(job, "expired")
                expired += 1
        promoted = 0
        for job in self.of_state("scheduled"):
            if job.due is not None and job.due <= self.now:
                job.state, job.due, job.parked = "queued", None, False
                promoted += 1
        for job in self.of_state("waiting"):
            if job.wait_ends is not None and job.wait_ends <= self.now:
                job.state = "queued"
                promoted += 1
        self.conclude()
        return recovered, promoted, expired

    def replay(self, job: ModelJob) -> None:
        job.state, job.attempt, job.cancel, job.losses = "queued", 0, False, 0
        job.holder = None
