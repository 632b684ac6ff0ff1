"""Every key that a pool owns in Redis: name, type, lifetime, owner.

All keys begin with `ap:{namespace/name}:`. The braces are a hash tag, so a pool lives in a single slot of a Cluster and
pools spread over shards. Names of routes, jobs, workers and clients are identifiers of a fixed form, and each follows
its own prefix, so it never collides with a different key. Further user text is never part of a key's name: an
idempotency key is named by its SHA-256. Scripts get `conf` as KEYS[1] and derive the rest, which are all in its slot;
`scripts/lib/pool.lua` has the same names, and a test compares the two.

| key | type | lifetime | owner |
|---|---|---|---|
| conf | hash | the pool's | settings, written by the operator |
| counters | hash | the pool's | counters and stream cursors, written by scripts |
| s:ROUTE:PRIORITY | stream | the pool's | jobs in order; one consumer group, `pool` |
| job:ID | hash | until retention ends | a job |
| kids:ID | set | until the children are released | jobs that wait for the parent |
| started:ID | set | as its job | jobs that the job has started |
| group:ID | hash | as its job | groups of children that the job waits for, and how the children ended |
| waiting | zset by ms | the pool's | jobs that wait without a slot, by the end of the wait; +inf: no limit |
| stopping | set | until its members' children are cancelled | jobs with children left to cancel |
| downstream:ID | list | as a dead letter | jobs cancelled because the job failed, by their ends |
| restoring | hash | until the jobs are restored | replayed job -> looks since the last change |
| releasing | set | until its members' children are released | ended jobs with children left to release |
| key:SHA256 | string | as its job | digest of an idempotency key -> job id |
| due | zset by ms | the pool's | scheduled jobs, retries included |
| ttl | zset by ms | the pool's | waiting jobs that expire |
| ended:STATE | stream | the pool's, entries until retention ends | jobs that succeeded, were cancelled, or expired |
| schedules | hash | the pool's | dynamic schedules: name -> definition, JSON |
| schedules-due | zset by ms | the pool's | schedules by their next due time |
| schedules-last | hash | the pool's | name -> last due time (ms), outcome, id of the latest job |
| schedules-paused | set | the pool's | names of schedules that are paused at run time |
| dead | zset by ms | the pool's, entries until retention ends | dead letters |
| blocked | set | the pool's | jobs that wait for others |
| yield | zset by rank | the pool's | running jobs that may be asked to yield |
| suspects | zset by entry | the pool's | jobs in quarantine that wait to run alone |
| limited | zset by ms | the pool's | buckets for which jobs wait, by the time of their opening; inf: when a job ends |
| limit-times | zset by ms | until the time | BUCKET: time at which its rate is unused again; ~BUCKET: end of a pause |
| limit-overrides | hash | the pool's | BUCKET -> numbers that apply instead of the limit's own, and the key or tenant |
| held:BUCKET | zset by order | until the jobs start | jobs that wait for the bucket; negative: let go on, not started |
| spent:BUCKET:WINDOW | string | two windows | billionths of money that jobs have spent in the window |
| using:BUCKET | set | until the jobs end | running jobs that the bucket counts |
| turns:PLACE | zset by tag | while jobs with tenants wait | lines of the place by the start tag of their next job |
| tags:PLACE | zset by tag | while others wait | tags of lines that are empty |
| line:PLACE:SHA1 | zset by order | while its jobs wait | ready entries of a tenant; line:PLACE:-: without one |
| workers | zset by ms | the pool's | leases: worker -> expiry |
| worker-kinds | hash | the pool's | worker -> its kinds of job |
| worker-info | hash | the pool's | worker -> slots, running, host |
| ctl:WORKER | list | 1 h after the last push | cancel and yield orders |
| bell | list | the pool's | at most a single ring, for an idle worker |
| usage:DAY | hash | 62 days after the last report of the day | usage by tenant, kind and model; DAY: days since 1970 |
| chunks:ID | stream, capped | as its job; 31 days without a chunk | output that the handler emits |
| inbox:CLIENT | list | 1 h after the last push | ended jobs that the client waits for |
| outbox | zset by ms | until delivered or given up | MESSAGEs to webhooks, by the time of the next try |
| events | stream | the pool's, capped | events, in order |
| history | stream | the pool's, capped | points of the last hour: queue, totals, workers |
| quarters | stream | the pool's, capped | running jobs in each quarter of an hour, if the pool learns patterns |

A MESSAGE is JOB NAME CHANGE MS: the webhook NAME of the job is to learn of that change, which happened at that time.

A BUCKET is NAME, the name of a limit, or NAME:SHA1, the limit of one key or tenant.

Fields of `job:ID`. Texts in capitals are layouts of `codec/layout.py`; ms are times on the pool's clock.

| field | holds |
|---|---|
| state | a JobState |
| spec | SPEC |
| payload | JSON |
| entry | id of the stream entry that is the job's place in the order |
| lease | LEASE of the latest attempt |
| ended | ms of the end |
| log | lines of HISTORY, without the plain sequence queued, started, ended: entry, lease and ended contain it |
| due | ms from which a scheduled job may run, or at which a wait ends |
| wait | signals that a waiting job waits for, NAME=NUMBER separated by blanks; ~~BUDGET=1: a new window of a budget |
| signals | number of stored signals |
| sigs:NAME | number of stored signals of this name |
| sig:SIGNAL | value of the signal NAME=NUMBER, JSON |
| sigid:ID | 1: a signal of this id is stored |
| expires | ms at which a waiting job expires |
| restored | newest entry of `ended:cancelled` when the job was restored; up to there no entry stands for the job |
| waits | number of parents that have not ended |
| after | ids of the parents, separated by blanks |
| in:PARENT | result of a parent, JSON |
| end:PARENT | end of a parent that did not succeed, and has released the job |
| checkpoint | saved state, JSON |
| progress | JSON |
| steps | number of the last step |
| step:NUMBER | STEP of a durable step |
| out:NUMBER | result of that step, JSON; of a failed step the text of its error |
| usage | USAGE, totals of all attempts |
| result | JSON |
| error | text of the last failure |
| reason | a word: why the job is in its state |
| trace | W3C trace headers, JSON |
| tags | tags, separated by blanks |
| digest | digest of the request, compared when an id is submitted again |
| putoff | DEFERRALS by an overloaded handler |
| unknown | DEFERRALS by workers that do not know the kind |
| losses | number of workers lost, or out of memory, under the job |
| alone | 1 while the job runs in quarantine |
| limit_key | text: jobs with the same text share limits by key |
| tenant | text: jobs with the same text share limits by tenant |
| tokens | number of tokens that the job is expected to use |
| started_by | id of the job that has started the job |
| started | 1 if the job has started jobs; tree: it is cancelled with all of them |
| stop | MODE CURSOR REASON: jobs that the job has started are left to cancel |
| group | PARENT GROUP NUMBER: place of the job in a group of children |
| held | BUCKET that the job waits for |
| opened | BUCKET that let the ready job go on |
| holds | BUCKETs that count the running job, separated by blanks |
| debit | tokens that the attempt has reported, and BUCKET=TOKENS: rest of the estimate in each rate of tokens |
| cancel | reason of a requested cancellation |
| kids | 1 if children wait |
| watch | clients that wait for the end, separated by blanks |
| idem | digest of the idempotency key, a blank, the key |
| emits | LEASE TOKEN of the run that emitted last, a blank, number of its last chunk |
| hooks | NAME=CHANGE,CHANGE for each webhook, separated by blanks |
| hook:NAME | definition of the webhook, JSON |
| sent:PAIR | DELIVERY of the latest message to a webhook about a change; PAIR is NAME=CHANGE |
| mark | 1 if cancel, kids, watch, idem, losses, alone, held, opened, holds, emits, started, hooks or debit exists |

Fields of `counters`. PLACE is ROUTE:PRIORITY, a stream.

| field | holds |
|---|---|
| queued | number of ready jobs |
| running | number of running jobs |
| submitted | submitted jobs, in total |
| started | claims, in total |
| finished | ended jobs, in total |
| succeeded | jobs that succeeded, in total |
| failed | jobs that failed for good, in total |
| cancelled | cancelled jobs, in total |
| expired | expired jobs, in total |
| attempts | ended attempts, in total |
| run_ms | ms of all ended attempts |
| slots | slots of the live workers |
| suspects | number of jobs in quarantine that wait |
| held | number of jobs that wait for a limit, not among `queued` |
| alone | worker that is reserved for a job in quarantine |
| alone_job | id of the job that it runs |
| cordoned | 1 if any x:WORKER exists |
| pressure_at | ms of the last signal for more workers |
| audit | cursor of the audit |
| audit_at | ms from which the audit goes on |
| clock_offset_ms | ms added to the server's clock; tests only |
| clock_ahead_ms | ms by which the pool's clock is ahead after the server's went back |
| clock_seen_ms | ms of the clock at the last maintenance |
| q:PLACE | number of entries that no worker has read |
| y:PLACE | number of requeued entries (consumer `~ready`) |
| n:PLACE | number of ready entries in lines (consumer `~lined`) |
| v:PLACE | virtual time: start tag of the last job that a line started |
| h:PLACE | number of entries that wait for a limit (consumer `~held`) |
| w:LIMIT | number of jobs that wait for the limit |
| u:PLACE | number of entries in quarantine (consumer `~suspect`) |
| t:PLACE | number of tombstones: unread entries of jobs that ended while they waited |
| c:PLACE | cursor: last entry that the group has read; the stream and its group exist |
| d:PLACE | an acknowledged entry that stays, so that the server can compute the group's lag |
| r:ROUTE | number of running jobs |
| p:ROUTE | ms until which an overloaded handler has paused the route |
| x:WORKER | ms until which the worker is cordoned |
| k:PLACE | worker that keeps room for the oldest job, and ms of its last claim |
| b:WORKER | ms at which the worker last passed on a bell, because no job fits there |

A namespace has keys of its own, `ap:{namespace/}:`, covered by the pattern of its ACL users: no pool's name is empty.

| key | type | lifetime | owner |
|---|---|---|---|
| pools | set | while the namespace has pools | names of the pools with settings, written with them |
| deletable | hash | as the pools | the operator's notes on the queues of deleted pools |

`ap:{namespace/}:pressure` is the pub/sub channel on which a submit that finds no free slot names its pool.

In addition, each Redis has `ap:namespaces`, the set of namespaces with pools, for users of all namespaces only.
`agentpool_core.queue.scripts` uses the keys.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, PoolRef, Priority, WorkerId

GROUP = "pool"  # the consumer group of each stream
READY = "~ready"  # reserved consumer: requeued entries, ready in their old place
PARKED = "~parked"  # reserved consumer: entries that wait for their backoff
LINED = "~lined"  # reserved consumer: entries that wait in the line of a tenant
HELD = "~held"  # reserved consumer: entries that wait for a limit
SWEEPER = "~sweeper"  # reserved consumer: reads tombstones away
NO_TENANT = "-"  # names the line of jobs without a tenant
SUSPECT = "~suspect"  # reserved consumer: in quarantine, waits to run alone
RESERVED = "~"  # not allowed at the start of a worker's name
NAMESPACES = "ap:namespaces"


def digest_of(idempotency_key: str) -> str:
    """Return the digest that names an idempotency key: more users see the names of keys than their values."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def index_of(namespace: str) -> str:
    """Return the key of the set of a namespace's pools."""
    return f"ap:{{{namespace}/}}:pools"


def notes_of(namespace: str) -> str:
    """Return the key of a namespace's notes: pool -> effect of the deletion."""
    return f"ap:{{{namespace}/}}:deletable"


def pressure_of(namespace: str) -> str:
    """Return the channel on which a namespace's pools request workers."""
    return f"ap:{{{namespace}/}}:pressure"


class Keys:
    """Names of a pool's keys."""

    def __init__(self, pool: PoolRef) -> None:
        prefix = f"ap:{{{pool}}}:"
        self.prefix = prefix
        self.conf = f"{prefix}conf"
        self.counters = f"{prefix}counters"
        self.due = f"{prefix}due"
        self.ttl = f"{prefix}ttl"
        self.dead = f"{prefix}dead"
        self.blocked = f"{prefix}blocked"
        self.waiting = f"{prefix}waiting"
        self.releasing = f"{prefix}releasing"
        self.yields = f"{prefix}yield"
        self.suspects = f"{prefix}suspects"
        self.limited = f"{prefix}limited"
        self.limit_times = f"{prefix}limit-times"
        self.limit_overrides = f"{prefix}limit-overrides"
        self.workers = f"{prefix}workers"
        self.worker_info = f"{prefix}worker-info"
        self.worker_kinds = f"{prefix}worker-kinds"
        self.bell = f"{prefix}bell"
        self.events = f"{prefix}events"
        self.schedules = f"{prefix}schedules"
        self.schedules_due = f"{prefix}schedules-due"
        self.schedules_last = f"{prefix}schedules-last"
        self.schedules_paused = f"{prefix}schedules-paused"
        self.ended = f"{prefix}ended:"
        self.outbox = f"{prefix}outbox"
        self.history = f"{prefix}history"
        self.quarters = f"{prefix}quarters"

    def stream(self, route: str, priority: Priority) -> str:
        """Return the stream of a route's jobs of a priority."""
        return f"{self.prefix}s:{route}:{priority.value}"

    def turns(self, route: str, priority: Priority) -> str:
        """Return the order of the lines of a route's jobs of a priority."""
        return f"{self.prefix}turns:{route}:{priority.value}"

    def line(self, route: str, priority: Priority, tenant: str) -> str:
        """Return the line of a tenant, which its digest names."""
        return f"{self.prefix}line:{route}:{priority.value}:{tenant}"

    def job(self, job_id: JobId) -> str:
        """Return the job's hash."""
        return f"{self.prefix}job:{job_id}"

    def kids(self, job_id: JobId) -> str:
        """Return the set of jobs that wait for this job."""
        return f"{self.prefix}kids:{job_id}"

    def started(self, job_id: JobId) -> str:
        """Return the set of jobs that this job has started."""
        return f"{self.prefix}started:{job_id}"

    def chunks(self, job_id: JobId) -> str:
        """Return the stream of the job's output."""
        return f"{self.prefix}chunks:{job_id}"

    def spent(self, bucket: str, window: int) -> str:
        """Money that jobs have spent in a window of a budget; windows are counted from 1970."""
        return f"{self.prefix}spent:{bucket}:{window}"

    def usage(self, day: date) -> str:
        """Return the hash of a day's usage."""
        return f"{self.prefix}usage:{(day - date(1970, 1, 1)).days}"

    def group(self, job_id: JobId) -> str:
        """Return the hash of the job's groups of children."""
        return f"{self.prefix}group:{job_id}"

    def idempotency(self, key: str) -> str:
        """Return the string that holds the job id of an idempotency key."""
        return f"{self.prefix}key:{digest_of(key)}"

    def control(self, worker: WorkerId) -> str:
        """Return the list of orders to a worker."""
        return f"{self.prefix}ctl:{worker}"

    def inbox(self, client: str) -> str:
        """Return the list of a client's awaited ends."""
        return f"{self.prefix}inbox:{client}"
