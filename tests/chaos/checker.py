"""The judge: compares the ledger of promises and the handlers' log with the queue's event stream. Pure.

Every finding is a sentence that names the job and the broken promise; a clean run has no findings. The judge trusts
only evidence: `started` events are the claims, the k-th claim of a job has token k, and a claim must explain each line
of a handler. The next module is `report`, which prints the findings beside the figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.chaos.load import signals_of
from tests.chaos.rollbacks import Rollback, excused

if TYPE_CHECKING:
    from agentpool_core.jobs import JobEvent, JobRequest
    from agentpool_core.queue.chunks import Chunk

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}
GIVES_BACK = {"retrying", "returned", "preempted", "recovered", "waiting"}  # a lease ends, and the job does not
SILENT = {"signalled", "resumed", "progress", "yielding", "cancelling", "queued", "scheduled", "blocked", "quarantined"}

Run = Mapping[str, Any]  # a line of a handler's log


def judge(
    *,
    acknowledged: Mapping[str, JobRequest],
    cancelled: Iterable[str],
    events: Sequence[JobEvent],
    runs: Sequence[Run],
    limits: Mapping[str, int],
    forgettable: Collection[str] = (),
    rollbacks: Sequence[Rollback] = (),
    chunks: Mapping[str, Sequence[Chunk]] = MappingProxyType({}),
) -> list[str]:
    """Return all broken promises, as sentences.

    `events` are the events that Redis still has. `forgettable` jobs may be missing from Redis; if Redis has such a job,
    every promise applies. Log lines of a rollback's time may belong to forgotten claims. `chunks`: the output of jobs.
    """
    held_to = [run for run in runs if not excused(run, rollbacks)]
    known = {event.job_id for event in events}
    kept = {job: request for job, request in acknowledged.items() if job in known or job not in forgettable}
    finished = {run["job"] for run in runs if run["what"] == "end"}
    return [
        *ends(kept, cancelled, events),
        *leases(events),
        *explained(events, held_to, finished),
        *families(acknowledged, events, held_to),
        *route_limits(events, limits),
        *checkpoints(held_to),
        *signals(acknowledged, held_to),
        *steps_once(held_to),
        *waits(events, held_to),
        *output(chunks, held_to, {(run["job"], run["token"]) for run in runs if excused(run, rollbacks)}),
        *poison(acknowledged, events),
    ]


def ends(acknowledged: Mapping[str, JobRequest], cancelled: Iterable[str], events: Sequence[JobEvent]) -> Iterable[str]:
    """Every acknowledged job ends exactly once, an acknowledged cancel is the job's end, and no further job exists."""
    ended: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if event.type in TERMINAL:
            ended[event.job_id].append(event.type)
    for job in acknowledged:
        if not ended[job]:
            yield f"{job} was acknowledged and lost: it has no terminal state"
        elif len(ended[job]) > 1:
            yield f"{job} ended {len(ended[job])} times: {', '.join(ended[job])}"
    for job in cancelled:
        if ended[job] and ended[job] != ["cancelled"]:
            yield f"{job} was acknowledged as cancelled and is {ended[job][0]}"
    for job in {event.job_id for event in events} - set(acknowledged):
        yield f"{job} is in the queue, and nobody was told so"


def leases(events: Sequence[JobEvent]) -> Iterable[str]:
    """A job is claimed only while no worker holds the job, and no event follows the job's end."""
    holder: dict[str, str] = {}
    over: set[str] = set()
    for event in events:
        job = event.job_id
        if job in over and event.type not in {"cancelling", "yielding", "progress"}:
            yield f"{job} was {event.type} after its end"
        if event.type == "started":
            if job in holder:
                yield f"{job} was claimed by {event.worker} while {holder[job]} held it"
            holder[job] = str(event.worker)
        elif event.type in GIVES_BACK:
            if holder.pop(job, None) is None:
                yield f"{job} was {event.type} while nobody held it"
        elif event.type in TERMINAL:
            if event.type in {"succeeded", "failed"} and job not in holder:
                yield f"{job} {event.type} while nobody held it"
            holder.pop(job, None)
            over.add(job)
    for job, worker in holder.items():
        yield f"{job} is still held by {worker}"


def explained(events: Sequence[JobEvent], runs: Sequence[Run], finished: Collection[str]) -> Iterable[str]:
    """The claim with token k is the k-th `started`; each claim has a single run, by that worker, in that attempt."""
    claims: dict[str, list[JobEvent]] = defaultdict(list)
    for event in events:
        if event.type == "started":
            claims[event.job_id].append(event)
    seen: Counter[tuple[str, int]] = Counter()
    for run in runs:
        if run["what"] != "start":
            continue
        job, token = run["job"], run["token"]
        seen[job, token] += 1
        if token > len(claims[job]):
            yield f"{job} ran with token {token}, and was claimed {len(claims[job])} times"
            continue
        claim = claims[job][token - 1]
        if (claim.worker, claim.attempt) != (run["worker"], run["attempt"]):
            yield f"{job} ran on {run['worker']}, and token {token} was claimed by {claim.worker}"
    for (job, token), count in seen.items():
        if count > 1:
            yield f"{job} ran {count} times under the one token {token}"
    succeeded = {event.job_id for event in events if event.type == "succeeded"}
    for job in sorted(succeeded - set(finished)):
        yield f"{job} succeeded, and no handler ever came to its end"


def families(acknowledged: Mapping[str, JobRequest], events: Sequence[JobEvent], runs: Sequence[Run]) -> Iterable[str]:
    """A child is claimed after the end of all parents, and gets the results of the successful parents."""
    end: dict[str, tuple[int, str]] = {}
    first: dict[str, int] = {}
    for place, event in enumerate(events):
        if event.type in TERMINAL:
            end.setdefault(event.job_id, (place, event.type))
        elif event.type == "started":
            first.setdefault(event.job_id, place)
    lost = (len(events), "lost")
    for job in acknowledged.keys() & first.keys():
        for parent in acknowledged[job].after:
            place, state = end.get(parent, lost)
            if first[job] < place:
                yield f"{job} was claimed before its parent {parent} had ended"
            if state != "succeeded" and acknowledged[job].after_condition == "succeeded":
                yield f"{job} was claimed though its parent {parent} is {state}"
    for run in (run for run in runs if run["what"] == "start" and run["job"] in acknowledged):
        parents = [p for p in acknowledged[run["job"]].after if end.get(p, lost)[1] == "succeeded"]
        wanted = {str(parent): acknowledged[parent].payload["n"] for parent in parents}
        if run["parents"] != wanted:
            yield f"{run['job']} got {run['parents']} of its parents, not {wanted}"


def route_limits(events: Sequence[JobEvent], limits: Mapping[str, int]) -> Iterable[str]:
    """At every instant at most `limit` jobs of a route are held."""
    held: dict[str, set[str]] = defaultdict(set)
    for event in events:
        jobs = held[event.route]
        if event.type == "started":
            jobs.add(event.job_id)
            if event.route in limits and len(jobs) > limits[event.route]:
                yield f"{len(jobs)} jobs of route {event.route} ran at once, the limit is {limits[event.route]}"
        elif event.type in TERMINAL or event.type in GIVES_BACK:
            jobs.discard(event.job_id)


def checkpoints(runs: Sequence[Run]) -> Iterable[str]:
    """Every later claim finds the state that was acknowledged to the handler."""
    saved: dict[str, dict[int, int]] = defaultdict(dict)  # job: token: steps
    for run in runs:
        if run["what"] == "saved":
            steps = saved[run["job"]]
            steps[run["token"]] = max(steps.get(run["token"], 0), run["done"])
    for run in runs:
        if run["what"] == "start" and "done" in run:
            before = [done for token, done in saved[run["job"]].items() if token < run["token"]]
            if before and run["done"] < max(before):
                yield f"{run['job']} began at step {run['done']}, and step {max(before)} had been saved"


def signals(acknowledged: Mapping[str, JobRequest], runs: Sequence[Run]) -> Iterable[str]:
    """An agent that comes to its end has each of its signals once."""
    for run in runs:
        if run["what"] == "end" and "signals" in run and run["job"] in acknowledged:
            wanted = signals_of(acknowledged[run["job"]])
            if sorted(run["signals"]) != wanted:
                yield f"{run['job']} got the signals {run['signals']}, not each of {wanted} once"


def steps_once(runs: Sequence[Run]) -> Iterable[str]:
    """A step that was committed in a claim runs in no later claim."""
    committed: dict[tuple[str, object], int] = {}
    for run in runs:
        if run["what"] == "stepped":
            key = run["job"], run["step"]
            committed[key] = min(run["token"], committed.get(key, run["token"]))
    for run in runs:
        if run["what"] == "step" and run["token"] > committed.get((run["job"], run["step"]), run["token"]):
            yield f"{run['job']} ran step {run['step']} again, which was committed before"


def waits(events: Sequence[JobEvent], runs: Sequence[Run]) -> Iterable[str]:
    """A handler whose job waits does nothing more: the next claim's handler is alone."""
    claims: Counter[str] = Counter()
    waited: set[tuple[str, int]] = set()
    for event in events:
        claims[event.job_id] += event.type == "started"
        if event.type == "waiting":
            waited.add((event.job_id, claims[event.job_id]))
    latest: dict[str, int] = {}
    for run in runs:
        job, token = run["job"], run["token"]
        if token < latest.get(job, 0) and (job, token) in waited:
            yield f"{job} went on under token {token}, which had given back its slot to wait"
        latest[job] = max(token, latest.get(job, 0))


def output(
    chunks: Mapping[str, Sequence[Chunk]], runs: Sequence[Run], unsure: Collection[tuple[str, int]]
) -> Iterable[str]:
    """The output of each claim has no hole, no double, and every acknowledged chunk.

    Chunks of an `unsure` claim may be lost: Redis went back meanwhile.
    """
    stored: dict[tuple[str, int], list[int]] = defaultdict(list)
    for job, found in chunks.items():
        for chunk in found:
            stored[job, chunk.run].append(chunk.number)
        if [chunk.run for chunk in found] != sorted(chunk.run for chunk in found):
            yield f"{job} has output of an older claim behind output of a newer claim"
    for (job, token), numbers in stored.items():
        if numbers != sorted(set(numbers)):
            yield f"{job} has doubled or disordered output under token {token}: {numbers}"
        elif (job, token) not in unsure and numbers != list(range(1, len(numbers) + 1)):
            yield f"{job} has a hole in its output under token {token}: {numbers}"
    for run in runs:
        key = run["job"], run["token"]
        if run["what"] == "emitted" and run["job"] in chunks and key not in unsure and run["number"] not in stored[key]:
            yield f"{run['job']} lost chunk {run['number']} of token {run['token']}, which was acknowledged"


def money(
    spent: Sequence[float], runs: Sequence[Run], amount: float, over: float, rollbacks: Sequence[Rollback] = ()
) -> Iterable[str]:
    """A budget spends no more than its amount and one call of each running job (`over`), and forgets no paid call.

    `spent`: the money that Redis counts, by window.
    """
    for total in spent:
        if total > amount + over:
            yield f"a budget of {amount:g} has spent {total:g}, more than one call of each running job above it"
    paid = sum(run["cost"] for run in runs if run["what"] == "paid" and not excused(run, rollbacks))
    if paid > sum(spent):
        yield f"calls for {paid:g} were acknowledged, and the budget counts {sum(spent):g}"


def poison(acknowledged: Mapping[str, JobRequest], events: Sequence[JobEvent]) -> Iterable[str]:
    """A job that ends workers is identified, and no innocent job is marked as poison."""
    for event in events:
        culprit = event.job_id in acknowledged and acknowledged[event.job_id].kind == "poison"
        called = event.type == "failed" and (event.detail or "").startswith("poison")
        if called and not culprit:
            yield f"{event.job_id} was called poison and is innocent"
        if culprit and event.type in {"failed", "succeeded"} and not called:
            yield f"{event.job_id} is poison and {event.type} as any other: {event.detail}"


def duplicates(runs: Sequence[Run]) -> int:
    """Jobs with more than one completed run: at-least-once work, with a single stored result."""
    ended = Counter(run["job"] for run in runs if run["what"] == "end")
    return sum(count > 1 for count in ended.values())
