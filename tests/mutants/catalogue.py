"""The mutants: small defects of a queue, each a substitution in the text of a script or a method.

No mutant is kept as a copy: `tests/fixtures/mutants.py` applies the mutant of `AGENTPOOL_TEST_MUTANT`. A missing text
is an error, so a change of a script requires an update of the mutant.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import textwrap
from dataclasses import dataclass, replace
from typing import Any

from agentpool_core.queue import scripts


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """A defect."""

    name: str
    wrong: str  # the effect, in the words of a sentence
    old: str
    new: str = ""
    method: str | None = None  # module:Class.method that the text is of; None: the scripts


CATALOGUE = (
    Mutant(
        name="no-fence",
        wrong="an end with a stale token is applied",
        old="if not job or job.token ~= tonumber(token) then return 'stale' end",
        new="if not job then return 'stale' end",
    ),
    Mutant(
        name="short-exchange-without-fence",
        wrong="the short exchange applies an end with a stale token",
        old="if not lease or lease.token ~= ARGV[i + 1] then",
        new="if not lease then",
    ),
    Mutant(
        name="short-exchange-for-any-worker",
        wrong="the short exchange applies an end from a worker that does not hold the job",
        old="if holder == worker and #claimed <= DIGITS_MAX then",
        new="if token and #claimed <= DIGITS_MAX then",
    ),
    Mutant(
        name="short-exchange-without-turns",
        wrong="a start in the short exchange costs a tenant no turn",
        old="virtual, taken = turns.pass(at, next_turns, virtual),",
        new="taken =",
    ),
    Mutant(
        name="short-exchange-loses-lines",
        wrong="jobs of tenants that the short exchange may not start lose their places in their lines",
        old="      turns.undo(at, next_turns)\n      break",
        new="      break",
    ),
    Mutant(
        name="short-exchange-delivers-the-rest",
        wrong="jobs that exceed a reply of the short exchange belong to the worker, which does not know them",
        old="if fit ~= #entries then undeliver(entries, (fit or 0) + 1) end",
    ),
    Mutant(
        name="expired-jobs-wait-for-the-next-round",
        wrong="the maintenance rests while more jobs have expired",
        old=" or expired == BATCH",
    ),
    Mutant(
        name="short-exchange-beyond-the-limit",
        wrong="the short exchange starts more jobs of a route than its limit allows",
        old="local room = setting_or(conf[5], math.huge) - running",
        new="local room = math.huge",
    ),
    Mutant(
        name="packing-without-memory",
        wrong="a worker starts more jobs than fit into its GPU memory",
        old="return c.cost.memory == 0 and by_slots or math.min(by_slots, math.floor(free_memory / c.cost.memory))",
        new="return by_slots",
    ),
    Mutant(
        name="packing-without-kept-room",
        wrong="small jobs pass a large one for ever",
        old="if not is_passed then return math.huge end",
        new="if is_passed then return math.huge end",
    ),
    Mutant(
        name="short-exchange-forgets-the-waiting",
        wrong="the short exchange ends a job without notice to those that wait for the job",
        old="if v[1] ~= 'running' or v[5] or not v[3]",
        new="if v[1] ~= 'running' or not v[3]",
    ),
    Mutant(
        name="unfenced-checkpoint",
        wrong="a checkpoint of a lease that has passed on is saved",
        old="or job.state ~= 'running' or job.token ~= token then",
        new="then",
    ),
    Mutant(
        name="token-stands-still",
        wrong="two claims of a job carry the same token",
        old="token = token + 1,",
        new="token = math.max(token, 1),",
    ),
    Mutant(
        name="recovers-the-living",
        wrong="maintenance recovers jobs of workers with a valid lease",
        old="redis.call('ZRANGEBYSCORE', WORKERS, '-inf', now, 'LIMIT', 0, 10)",
        new="redis.call('ZRANGEBYSCORE', WORKERS, '-inf', '+inf', 'LIMIT', 0, 10)",
    ),
    Mutant(
        name="lost-worker-is-free",
        wrong="the attempt of a lost worker does not count",
        old="job.attempt = math.min(job.attempt, jobs.max_attempts_of(job) - 1)",
        new="job.attempt = job.attempt - 1",
    ),
    Mutant(
        name="suspects-run-together",
        wrong="two suspects run at once, in two workers",
        old="if holder ~= worker and job_id then return nil end",
    ),
    Mutant(
        name="a-reserved-worker-takes-more",
        wrong="a worker in which a suspect runs alone is given another job where it waits for the bell",
        old=" or counters[12] then return OTHER end",
        new=" then return OTHER end",
    ),
    Mutant(
        name="suspect-for-ever",
        wrong="a suspect that failed by itself while it ran alone stays one",
        old="if job.alone then redis.call('HDEL', job.key, 'losses') end",
    ),
    Mutant(
        name="verdict-without-evidence",
        wrong="a suspect is poison after an unexplained loss of its worker",
        old="if job.alone and (explained or job.losses >= UNEXPLAINED_MAX) then",
        new="if job.alone then",
    ),
    Mutant(
        name="drain-costs-an-attempt",
        wrong="a requeued job has lost an attempt",
        old="job.attempt = math.max(0, job.attempt - 1)",
    ),
    Mutant(
        name="leaving-costs-an-attempt",
        wrong="a job leased to a leaving worker that never received the answer has lost an attempt",
        old="if ARGV[2] == 'these' then agreement.reach(worker, 3) end",
    ),
    Mutant(
        name="a-line-for-each-state",
        wrong="frequent checkpoints push all other events out of the job's history",
        old="if change == 'checkpointed' then log = ",
        new="if false then log = ",
    ),
    Mutant(
        name="put-off-for-ever",
        wrong="a job with an overloaded handler is deferred without end",
        old="if now - since < longest then",
        new="if true then",
    ),
    Mutant(
        name="replay-of-the-put-off",
        wrong="a replayed job has no deferral time left",
        old="'due', 'ended', 'putoff', ",
        new="'due', 'ended', ",
    ),
    Mutant(
        name="dead-may-claim",
        wrong="a worker with an expired lease gets jobs",
        old="if not expiry or tonumber(expiry) <= now then return { 'unregistered'",
        new="if not expiry then return { 'unregistered'",
    ),
    Mutant(
        name="deleted-not-acknowledged",
        wrong="an ended job's entry is deleted and stays pending",
        old="each_slice(ids, 'XACK', stream, GROUP)",
    ),
    Mutant(
        name="acknowledged-not-deleted",
        wrong="an ended job's entry stays in the stream",
        old="each_slice(gone, 'XDEL', stream)",
    ),
    Mutant(
        name="forgets-a-counter",
        wrong="the count of running jobs never falls",
        old="  bump('running', -1)\n  bump(job.spec.running, -1)",
        new="  bump(job.spec.running, -1)",
    ),
    Mutant(
        name="route-slot-leaks",
        wrong="an ended job keeps its place in its route",
        old="  bump(job.spec.running, -1)\n",
        new="\n",
    ),
    Mutant(
        name="limit-for-each-claim",
        wrong="a route's limit counts for each claim, not for the route",
        old="{ left = limit - number_or(counters['r:' .. route], 0), opens",
        new="{ left = limit, opens",
    ),
    Mutant(
        name="a-key-keeps-its-slot",
        wrong="the slot under a key is not free again when an attempt ends",
        old="redis.call('SREM', PREFIX .. 'using:' .. bucket, job.id)\n    collected.freed[bucket] = true",
        new="collected.freed[bucket] = true",
    ),
    Mutant(
        name="a-key-is-not-opened",
        wrong="a slot that is free under a key is given to no job that waits for it",
        old="redis.call('SREM', PREFIX .. 'using:' .. bucket, job.id)\n    collected.freed[bucket] = true",
        new="redis.call('SREM', PREFIX .. 'using:' .. bucket, job.id)",
    ),
    Mutant(
        name="a-full-key-stays-full",
        wrong="a script that has found a key full does not look again after it has freed a slot",
        old="if not collected.charged[bucket] then limits.rooms[bucket] = nil end",
    ),
    Mutant(
        name="a-full-route-keeps-the-key",
        wrong="a job that waits for its full route keeps its key from jobs of other routes",
        old="local counts = left_of[route] >= 0",
        new="local counts = true",
    ),
    Mutant(
        name="a-rate-is-not-charged",
        wrong="a start does not move the time of its rate",
        old="room.tat = math.max(now, math.min(room.tat + n * room.interval, room.latest))",
    ),
    Mutant(
        name="unused-time-is-saved",
        wrong="a rate lets more than its burst start after a pause",
        old="tat = math.max(now, math.min(stored, latest))",
        new="tat = math.min(stored, latest)",
    ),
    Mutant(
        name="keys-share-a-bucket",
        wrong="all keys share the limit that each should have",
        old="return subject and limit.name .. ':' .. redis.sha1hex(subject)",
        new="return subject and limit.name .. ':' .. redis.sha1hex('')",
    ),
    Mutant(
        name="a-job-let-go-counts-for-ever",
        wrong="a job that one limit let go and another holds keeps the place under the first",
        old="redis.call('ZREM', held_key(bucket), job.id)\n  redis.call('HDEL', job.key, 'held', 'opened')",
        new="redis.call('HDEL', job.key, 'held', 'opened')",
    ),
    Mutant(
        name="more-let-go-than-fit",
        wrong="a limit lets more jobs go than it has room for",
        old="math.min(room.left, OPEN_MAX)) - promised",
        new="math.min(room.left, OPEN_MAX))",
    ),
    Mutant(
        name="a-shut-route-keeps-the-key",
        wrong="a job that was let go, and whose route has filled since, keeps its key from jobs of other routes",
        old="holding.forget_shut(bucket)\n    collected",
        new="collected",
    ),
    Mutant(
        name="tokens-are-not-corrected",
        wrong="the tokens that a job has not used never return to their rate",
        old="limits.correct(bucket, -number_or(left, 0))",
    ),
    Mutant(
        name="tokens-beyond-the-estimate-are-free",
        wrong="tokens that a job reports beyond its estimate are not counted",
        old="limits.correct(bucket, math.max(0, used - left))",
    ),
    Mutant(
        name="tokens-count-twice-after-a-loss",
        wrong="a job whose worker was lost takes its tokens twice",
        old="local function recover(job, error, crash)\n  jobs.release_slot(job)",
        new="local function recover(job, error, crash)\n  jobs.release_slot(job, true)",
    ),
    Mutant(
        name="tokens-count-twice-after-a-requeue",
        wrong="a job that is requeued takes its tokens twice",
        old="jobs.release_slot(job, ENDING[verb])",
        new="jobs.release_slot(job, true)",
    ),
    Mutant(
        name="unreported-tokens-return",
        wrong="a job that reports nothing has used no tokens",
        old="if ended and string.match(job.debit, '^0 ') then return end",
    ),
    Mutant(
        name="reported-tokens-count-twice",
        wrong="reported tokens count beside the estimate, not instead of it",
        old="string.format('%.0f', math.max(0, left - used))",
        new="string.format('%.0f', left)",
    ),
    Mutant(
        name="a-debt-without-end",
        wrong="a wrong report stops a rate of tokens for longer than its burst",
        old="local latest = now + (limit.tokens and 2 or 1) * limit.burst * interval",
        new="local latest = now + (limit.tokens and 20 or 1) * limit.burst * interval",
    ),
    Mutant(
        name="small-jobs-overtake",
        wrong="small jobs take the tokens for which a large one waits",
        old="return first and tonumber(first) < tonumber(holding.order_of(job))",
        new="return false",
    ),
    Mutant(
        name="an-estimate-is-one-token",
        wrong="a job under a rate of tokens starts although its tokens are not free",
        old="return math.max(1, math.min(estimate_of(job), room.burst))",
        new="return 1",
    ),
    Mutant(
        name="a-turn-costs-nothing",
        wrong="the virtual time of a tenant does not advance with its starts",
        old="local tag = next_turns.tags[i] + taken * next_turns.steps[i]",
    ),
    Mutant(
        name="idle-tenants-save-turns",
        wrong="a tenant that was idle begins where it stopped, and takes all turns until it has caught up",
        old="math.max(tag, virtual_time(place))",
        new="tag",
    ),
    Mutant(
        name="weights-are-equal",
        wrong="the weight of a tenant has no effect",
        old="steps[i] = 1 / weight",
        new="steps[i] = 1",
    ),
    Mutant(
        name="a-line-keeps-cancelled-jobs",
        wrong="a cancelled job of a tenant counts as requeued, not as one of a line",
        old="return redis.call('ZREM', line_key(job.spec.place, digest_of(tenant)), job.entry) == 1",
        new="return false",
    ),
    Mutant(
        name="no-limit-opens-by-time",
        wrong="jobs that wait for a rate stay held when its time has come",
        old="redis.call('ZRANGEBYSCORE', LIMITED, '-inf', now, 'LIMIT', 0, BUCKETS_MAX)",
        new="redis.call('ZRANGEBYSCORE', LIMITED, '-inf', 0, 'LIMIT', 0, BUCKETS_MAX)",
    ),
    Mutant(
        name="children-too-early",
        wrong="a child is released while a parent still runs",
        old="elseif waits == 0 then",
        new="elseif waits <= 1 then",
    ),
    Mutant(
        name="children-twice",
        wrong="a released child is put into the queue twice",
        old=(
            "redis.call('HSET', job.key, 'state', 'queued', 'entry', jobs.append_entry(job))\n"
            "    jobs.append_event('queued', job)"
        ),
        new=(
            "jobs.append_entry(job)\n"
            "    redis.call('HSET', job.key, 'state', 'queued', 'entry', jobs.append_entry(job))\n"
            "    jobs.append_event('queued', job)"
        ),
    ),
    Mutant(
        name="children-stay-registered",
        wrong="the set of an ended job's children stays for ever",
        old="  redis.call('DEL', kids)\n",
        new="\n",
    ),
    Mutant(
        name="release-is-not-continued",
        wrong="children beyond the first part are never released",
        old="if more then redis.call('SADD', RELEASING, parent) end",
    ),
    Mutant(
        name="release-outruns-a-replay",
        wrong="the rest of the children ends with a failure that was replayed",
        old="elseif not jobs.STATES[v[1] or ''] then",
        new="else",
    ),
    Mutant(
        name="put-back-is-lost",
        wrong="a job that did not fit into a claim's reply is counted nowhere",
        old="    bump('y' .. c.place, #ids)\n",
        new="\n",
    ),
    Mutant(
        name="orphans-run",
        wrong="children of a failed parent run all the same",
        old="if state ~= 'succeeded' and not jobs.has_flag(child, 'u') then",
        new="if false then",
    ),
    Mutant(
        name="restored-too-early",
        wrong="a restored job of a pipeline is ready although its parents have not ended",
        old="if #parents == 0 then return children.unblock(job) end",
        new="do return children.unblock(job) end",
    ),
    Mutant(
        name="restoring-is-not-continued",
        wrong="a caller that dies leaves a pipeline half restored",
        old="more = downstream.continue() or more",
    ),
    Mutant(
        name="results-do-not-reach-children",
        wrong="a parent's result is lost on its way to the child",
        old="    redis.call('HSET', child.key, 'in:' .. parent, result)\n",
    ),
    Mutant(
        name="replayed-parent-counts-twice",
        wrong="a child whose parent failed and was replayed waits for it again, once the audit has looked",
        old="    redis.call('HSET', child.key, 'end:' .. parent, state or '')\n",
    ),
    Mutant(
        name="place-is-lost",
        wrong="a requeued job goes to the end of the queue",
        old="    bump('y' .. job.spec.place, 1)\n    note_ready(job)",
        new=(
            "  drop_entry(job.spec.stream, job.entry)\n"
            "  job.entry = redis.call('XADD', job.spec.stream, '*', 'job', job.id)\n"
            "  redis.call('HSET', job.key, 'entry', job.entry)\n"
            "  bump('q' .. job.spec.place, 1)"
        ),
    ),
    Mutant(
        name="impatience",
        wrong="the more patience a priority has, the sooner it goes",
        old="c.score = id_parts(c.entry) + c.patience",
        new="c.score = id_parts(c.entry) - c.patience",
    ),
    Mutant(
        name="cancel-is-forgotten",
        wrong="a running job that was cancelled is tried again",
        old="if verb == 'cancelled' or job.cancel then",
        new="if verb == 'cancelled' then",
    ),
    Mutant(
        name="cancel-reaches-nobody",
        wrong="the worker of a cancelled job is not notified",
        old="redis.call('RPUSH', orders, 'cancel ' .. job.token .. ' ' .. job.id)",
    ),
    Mutant(
        name="never-expires",
        wrong="a job outlives its ttl in the queue",
        old="redis.call('ZRANGEBYSCORE', TTL, '-inf', now, 'LIMIT', 0, BATCH)",
        new="redis.call('ZRANGEBYSCORE', TTL, '-inf', 0, 'LIMIT', 0, BATCH)",
    ),
    Mutant(
        name="time-goes-back",
        wrong="leases and delays last longer by as much as Redis's clock was set back",
        old="by = seen - now",
        new="by = 0",
    ),
    Mutant(
        name="given-back-at-once",
        wrong="the pool's time goes back when Redis's clock is put right again",
        old="math.min(ahead, SLOWDOWN_MAX_MS, math.floor((now - seen) * SLOWDOWN))",
        new="math.min(ahead, now - seen)",
    ),
    Mutant(
        name="never-due",
        wrong="a scheduled job waits for ever",
        old="  each(DUE, 'scheduled', promote)\n",
    ),
    Mutant(
        name="pause-is-ignored",
        wrong="a paused pool hands out jobs",
        old="if conf[2] == '1' then return { 'paused', revision, now - ahead } end",
    ),
    Mutant(
        name="tombstones-stay",
        wrong="cancelled entries block the head of their stream",
        old="local left = counter_of('t' .. place)",
        new="local left = 0",
    ),
    Mutant(
        name="conflicts-pass",
        wrong="the same idempotency key serves two different jobs",
        old="if known and digest and digest ~= extras.digest then return nil, { 'conflict', index, known } end",
    ),
    Mutant(
        name="unlisted-kinds-pass",
        wrong="a pool that refuses unlisted kinds accepts a plain job of an unlisted kind",
        old=" or (not conf[4] and conf[6] == '1') then",
        new=" then",
    ),
    Mutant(
        name="depth-by-one",
        wrong="a batch may pass maxDepth",
        old="if fresh > 0 and depth + fresh > limit then",
        new="if fresh > 0 and depth > limit then",
    ),
    Mutant(
        name="silent-bell",
        wrong="a submit wakes no worker",
        old="  ring()\n  local v = redis.call('HMGET', COUNTERS, 'queued', 'slots',",
        new="  local v = redis.call('HMGET', COUNTERS, 'queued', 'slots',",
    ),
    Mutant(
        name="nobody-yields",
        wrong="a critical job without a slot preempts no job",
        old="request_yield(nil, patience)",
        new="local _ = patience",
    ),
    Mutant(
        name="results-stay-for-ever",
        wrong="an ended job's record is never removed",
        old="redis.call('PEXPIRE', job.key, keep_ms)",
    ),
    Mutant(
        name="dead-letters-are-lost",
        wrong="a failed job is in no list",
        old="redis.call('ZADD', DEAD, now, job.id)",
    ),
    Mutant(
        name="idle-claim-leaks-a-route-slot",
        wrong="the claim of an idle worker does not count in its route",
        old="'r:' .. route, running + 1,",
        new="'r:' .. route, running,",
    ),
    Mutant(
        name="idle-claim-passes-the-limit",
        wrong="an idle worker gets a job of a route that is full",
        old="if running >= setting_or(conf[5], math.huge) then return OTHER end",
    ),
    Mutant(
        name="idle-claim-of-the-dead",
        wrong="an idle worker with an expired lease gets a job",
        old="or not expiry or tonumber(expiry) <= now then return OTHER end",
        new="or not expiry then return OTHER end",
    ),
    Mutant(
        name="plain-submit-twice",
        wrong="a plain submit that is repeated after a lost answer makes its job twice",
        old="  if redis.pcall('HMGET', key, 'state')[1] then return OTHER end\n",
        new="",
    ),
    Mutant(
        name="plain-submit-sees-only-the-queued",
        wrong="a plain submit does not count scheduled and blocked jobs against maxDepth",
        old="  depth = depth + redis.call('ZCARD', prefix .. 'due') + redis.call('SCARD', prefix .. 'blocked')\n",
        new="",
    ),
    Mutant(
        name="own-name-is-ignored",
        wrong="a submit that is repeated makes a second job",
        method="agentpool_core.queue.producer:Producer._submit",
        old="job_id = request.job_id or job_requests.new_id()",
        new="job_id = job_requests.new_id()",
    ),
    Mutant(
        name="script-is-not-sent-again",
        wrong="a script that the server has forgotten is not loaded again",
        method="agentpool_core.queue.scripts:Script._sent",
        old='return await call(redis, "EVAL", self.source, 1, conf, *args)',
        new="raise",
    ),
    Mutant(
        name="a-schedule-runs-twice",
        wrong="a caller that was overtaken submits a schedule's job again",
        old="if redis.call('ZSCORE', schedules.due, name) ~= expected then return { 'stale' } end",
    ),
    Mutant(
        name="runs-overlap",
        wrong="a schedule submits a job although the earlier one has not ended, and it should skip",
        old="if overlap == 'Skip' and earlier then return 'overlap' end",
    ),
    Mutant(
        name="a-pause-is-ignored",
        wrong="a paused schedule stays due",
        old="    redis.call('SADD', schedules.paused, name)\n    redis.call('ZREM', schedules.due, name)\n",
        new="    redis.call('SADD', schedules.paused, name)\n",
    ),
    Mutant(
        name="every-missed-run-comes-late",
        wrong="each missed due time gives a job although only the latest should",
        method="agentpool_core.queue.schedule:Schedule.to_submit",
        old="most = self.max_catch_up if self.missed is Missed.ALL else 1",
        new="most = self.max_catch_up",
    ),
    Mutant(
        name="tags-select-nothing",
        wrong="a selector ignores its tags",
        old="if not string.find(tags, ' ' .. tag .. ' ', 1, true) then return false end",
    ),
    Mutant(
        name="half-a-tag-is-enough",
        wrong="a selector takes jobs with a tag that only begins like its own",
        old="if not string.find(tags, ' ' .. tag .. ' ', 1, true) then return false end",
        new="if not string.find(tags, ' ' .. tag, 1, true) then return false end",
    ),
    Mutant(
        name="ended-jobs-are-lost",
        wrong="a job that succeeded, was cancelled or expired is in no list",
        old="    ids[#ids + 1] = job.id\n    collected.ended[state] = ids",
    ),
    Mutant(
        name="a-purge-takes-a-needed-result",
        wrong="a purge deletes a parent whose children are still to be released",
        old=" or redis.call('EXISTS', PREFIX .. 'kids:' .. job.id) == 1 then return false end",
        new=" then return false end",
    ),
    Mutant(
        name="a-cancel-takes-newcomers",
        wrong="a change of many jobs also takes jobs that are submitted during it",
        old="selector.before = math.min(selector.before or math.huge, first_ms + 1)",
    ),
    Mutant(
        name="a-job-for-failures-runs-anyway",
        wrong="a job that is for failures runs although every parent has succeeded",
        old="if jobs.has_flag(job, 'f') and all_succeeded(job) then",
        new="if false then",
    ),
    Mutant(
        name="only-the-parent-is-named",
        wrong="a cancelled grandchild names its parent instead of the ancestor that failed",
        old="if state == 'cancelled' and string.sub(text or '', 1, 9) == 'upstream:' then return text end",
    ),
    Mutant(
        name="unfenced-step",
        wrong="a step of a lease that has passed on is stored",
        old="local job = jobs.load(id)\n"
        "if not job or job.state ~= 'running' or job.token ~= token then return { 'stale' } end\n"
        "if job.worker ~= ARGV[5] then return { 'stale' } end",
        new="local job = jobs.load(id)\nif field ~= 'steps' and (not job or job.state ~= 'running' or job.token "
        "~= token or job.worker ~= ARGV[5]) then return { 'stale' } end",
    ),
    Mutant(
        name="a-step-is-forgotten",
        wrong="a step that is written again hides the steps with higher numbers, which then run again",
        old="math.max(last, tonumber(value))",
        new="value",
    ),
    Mutant(
        name="a-branch-waits-by-the-order-of-calls",
        wrong="a wait in a branch has a different name in an attempt that reaches the branches in a different order",
        method="agentpool_worker.durable.steps:Steps.begin_wait",
        old="if not is_branch(self.root):",
        new="if True:",
    ),
    Mutant(
        name="signal-for-two-waits",
        wrong="a signal is delivered to two waits",
        method="agentpool_worker.durable.waits:Waits._take_number",
        old="range(1, len(taken) + 2) if number not in taken",
        new="range(1, 2)",
    ),
    Mutant(
        name="emit-before-the-store",
        wrong="an emit is acknowledged before the chunk is stored",
        method="agentpool_worker.durable.output:Output.emit",
        old="await self._store.emit(self._lease, self._numbered, (text,))",
        new="__import__('asyncio').ensure_future(self._store.emit(self._lease, self._numbered, (text,)))",
    ),
    Mutant(
        name="step-before-the-store",
        wrong="a step returns before its result is stored",
        method="agentpool_worker.durable.journal:Journal.write",
        old="await self._writes.add(step)",
        new="asyncio.ensure_future(self._writes.add(step))",
    ),
    Mutant(
        name="signal-twice",
        wrong="a signal that is sent again counts twice",
        old="if v[1] then return { 'duplicate' } end",
    ),
    Mutant(
        name="signal-does-not-wake",
        wrong="a signal is stored, and its waiting job stays",
        old="if job.state == 'waiting' and (not readable or pause.is_signalled(job, wait)) then pause.resume(job) end",
    ),
    Mutant(
        name="early-signal-is-missed",
        wrong="a job waits although its signal came before",
        old="if left <= 0 or pause.is_signalled(job, wait) then",
        new="if left <= 0 then",
    ),
    Mutant(
        name="any-signal-wakes",
        wrong="a waiting job is resumed by a signal of another name",
        old="if redis.call('HEXISTS', job.key, 'sig:' .. signal) == 1 then return true end",
        new="if redis.call('HEXISTS', job.key, 'signals') == 1 then return true end",
    ),
    Mutant(
        name="wait-keeps-the-slot",
        wrong="a waiting job counts as running",
        old="  jobs.release_slot(job, ENDING[verb])\n  if verb == 'succeeded' then",
        new="  if verb ~= 'waiting' then jobs.release_slot(job) end\n  if verb == 'succeeded' then",
    ),
    Mutant(
        name="wait-counts",
        wrong="a wait uses up an attempt",
        old="  jobs.note_change(job, 'waiting')\n  job.attempt = math.max(0, job.attempt - 1)",
        new="  jobs.note_change(job, 'waiting')",
    ),
    Mutant(
        name="wait-never-ends",
        wrong="a wait whose time has come goes on",
        old="  each(WAITING, 'waiting', pause.resume)\n",
    ),
    Mutant(
        name="chunks-twice",
        wrong="output that is sent again after a lost answer is stored twice",
        old="    if number > last then\n      local added",
        new="    if true then\n      local added",
    ),
    Mutant(
        name="unfenced-output",
        wrong="a worker that has lost a job adds to its output",
        old="  if current ~= token or holder ~= worker then return 'stale' end\n",
    ),
    Mutant(
        name="output-outlives-its-job",
        wrong="the output of an ended job stays for a month",
        old="    redis.call('PEXPIRE', PREFIX .. 'chunks:' .. job.id, keep_ms)\n",
    ),
    Mutant(
        name="groups-outlive-their-job",
        wrong="the results of an ended job's children stay for ever",
        old="    redis.call('PEXPIRE', PREFIX .. 'group:' .. job.id, keep_ms)\n",
    ),
    Mutant(
        name="a-child-counts-twice",
        wrong="a child that ends again after a replay counts as the end of a second child",
        old="state .. ' ' .. text) == 0 then return bytes end",
        new="state .. ' ' .. text) < 0 then return bytes end",
    ),
    Mutant(
        name="early-children-are-lost",
        wrong="a parent that waits after the end of all its children waits for ever",
        old="  redis.call('HSET', job.key, 'sig:~' .. name .. '=' .. run, 'true')\n",
    ),
    Mutant(
        name="failure-waits-for-all",
        wrong="the first failure of a child does not end the parent's wait",
        old="if group.left == 0 or (group.fast and group.failed) then",
        new="if group.left == 0 then",
    ),
    Mutant(
        name="a-cancelled-parent-leaves-its-children",
        wrong="children run on although the parent that waits for them was cancelled",
        old="  if job.started and state == 'cancelled' then groups.begin_stop(job, text) end\n",
    ),
    Mutant(
        name="a-tree-keeps-leaves",
        wrong="a cancelled tree spares what a job that has ended has started",
        old="if job.started and outcome ~= 'cancelled' then groups.begin_stop(job, reason) end",
        new="if job.started and outcome == 'requested' then groups.begin_stop(job, reason) end",
    ),
    Mutant(
        name="a-cancelled-tree-grows",
        wrong="a job of a cancelled tree starts further jobs until it stops",
        old="  if starter.started == 'tree' then return children.reason(child.by, 'cancelled', starter.cancel) end\n",
    ),
    Mutant(
        name="a-group-runs-at-once",
        wrong="more children of a group run at once than it allows",
        old="if (limits.all or c.kept or jobs.has_flag(job, 'm')) and not limits",
        new="if (limits.all or c.kept) and not limits",
    ),
    Mutant(
        name="a-key-keeps-its-old-job",
        wrong="the end of a replaced job lets the key of its successor expire",
        old="  redis.call('HDEL', earlier.key, 'idem')\n  earlier.idem = nil\n",
    ),
    Mutant(
        name="replace-stops-running-jobs",
        wrong="a job that has started is cancelled by a job that replaces only waiting ones",
        old="  if earlier.token > 0 and job.extras.conflict ~= 'cancel_running' then return end\n",
    ),
    Mutant(
        name="a-repeated-replace",
        wrong="a submit that is repeated after a lost answer cancels its successor",
        old="if redis.call('EXISTS', PREFIX .. 'job:' .. job.id) == 1 then return job.id, nil end -- a repeated call",
    ),
    Mutant(
        name="unfenced-group",
        wrong="an attempt that has lost its lease stops the children of the next attempt",
        old="or job.token ~= tonumber(ARGV[2]) or job.worker ~= ARGV[3] then",
        new="then",
    ),
    Mutant(
        name="a-budget-checked-after-the-start",
        wrong="a job starts although the budget of its tenant is spent",
        old="if spent < limit.amount then return { bucket = bucket, left = math.huge, opens = now } end",
        new="if true then return { bucket = bucket, left = math.huge, opens = now } end",
    ),
    Mutant(
        name="a-charge-may-overspend",
        wrong="a call is allowed as long as any money is left",
        old="if spent < numbers.amount and spent + cost <= numbers.amount then return nil end",
        new="if spent < numbers.amount then return nil end",
    ),
    Mutant(
        name="a-charge-counts-twice",
        wrong="a reservation that is repeated after a lost answer takes the money again",
        old="if number <= total.last then return { 'ok' } end -- a repeated call",
    ),
    Mutant(
        name="a-reservation-for-ever",
        wrong="the report of a call does not replace the reservation of its cost",
        old="limits.spend(job, total.cost - before - reserved)",
        new="limits.spend(job, total.cost - before)",
    ),
    Mutant(
        name="usage-counts-twice",
        wrong="usage that is reported again after a lost answer is added twice",
        old="if number > total.last then\n      total.last = number",
        new="if true then\n      total.last = number",
    ),
    Mutant(
        name="unfenced-usage",
        wrong="usage under a lease that has passed on is added",
        old="if not job or job.state ~= 'running' or job.token ~= tonumber(ARGV[2]) then return { 'stale' } end",
        new="if not job then return { 'stale' } end",
    ),
    Mutant(
        name="any-digest-of-a-schema",
        wrong="a client that knows an older schema stores a payload that does not fit the present one",
        old="if schema and (not extras or extras.schema ~= schema and extras.schema ~= '*') then",
        new="if schema and (not extras or not extras.schema) then",
    ),
    Mutant(
        name="short-submit-without-schema",
        wrong="the short submit stores a payload without a check",
        old="if conf[7] or priority == 'critical'",
        new="if priority == 'critical'",
    ),
    Mutant(
        name="outbox-without-reservation",
        wrong="two senders take the same message to a webhook",
        old="redis.call('ZADD', OUTBOX, now + tonumber(ARGV[2]), message)",
        new="",
    ),
    Mutant(
        name="delivered-and-kept",
        wrong="a delivered message stays in the outbox, and is sent again",
        old="  redis.call('ZREM', PREFIX .. 'outbox', message)\nend",
        new="end",
    ),
    Mutant(
        name="delivered-and-sent-again",
        wrong="a request to send again also sends messages that were delivered",
        old="'^failed (%d+) %d+ (.*)$'",
        new="'^%a+ (%d+) %d+ (.*)$'",
    ),
    Mutant(
        name="tries-go-on",
        wrong="a message that is sent again on request keeps its tries, and is given up at once",
        old="redis.call('HSET', key, field, 'retrying ' .. at .. ' 0 ' .. rest)",
        new="",
    ),
)


def of_name(name: str) -> Mutant:
    """Return the mutant; raise KeyError for an unknown name."""
    return {mutant.name: mutant for mutant in CATALOGUE}[name]


def apply(mutant: Mutant) -> None:
    """Change the loaded queue, for the life of this process. Raise LookupError if the text is missing."""
    changed = _in_method(mutant) if mutant.method else _in_scripts(mutant)
    if not changed:
        raise LookupError(f"mutant {mutant.name}: its text is no longer in the queue; look at it again")


def _in_scripts(mutant: Mutant) -> int:
    changed = 0
    mutated: dict[str, scripts.Script] = {}
    for name, script in vars(scripts).copy().items():
        if not isinstance(script, scripts.Script):
            continue
        source = script.source.replace(mutant.old, mutant.new)
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        mutated[script.name] = replace(script, source=source, sha=sha)
        changed += source != script.source
        setattr(scripts, name, mutated[script.name])
    scripts.ALL = tuple(mutated[script.name] for script in scripts.ALL)  # type: ignore[assignment] # of the same length
    return changed


def _in_method(mutant: Mutant) -> int:
    module_name, _, path = str(mutant.method).partition(":")
    module: Any = importlib.import_module(module_name)
    class_name, _, method_name = path.partition(".")
    owner = getattr(module, class_name)
    source = textwrap.dedent(inspect.getsource(getattr(owner, method_name)))
    if mutant.old not in source:
        return 0
    made: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(mutant.old, mutant.new)
    exec(compile(code, module_name, "exec"), module.__dict__, made)
    setattr(owner, method_name, made[method_name])
    return 1
