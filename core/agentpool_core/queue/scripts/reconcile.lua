-- reconcile: resolves each difference between the jobs that a worker holds and the jobs that the queue leases to it. Causes:
-- a lost reply, or a Redis that was restored to an earlier state.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, then job id and token of each job that the worker holds
-- Returns {requeued jobs that the worker does not hold, deleted entries without a job, corrected counters,
--        id, token, ...: jobs that the worker must stop, because the queue does not lease them to the worker}
-- Events returned; cancelled where cancel was requested. The attempts do not count.

--- include: pool
--- include: agreement
--- include: recount

write_though_memory_is_full()
recount.restore_streams()
local returned, dropped, unleased = agreement.reach(ARGV[1], 2)
local differs = returned + dropped + #unleased > 0
local reply = { returned, dropped, differs and recount.correct() or 0 }
for i = 1, #unleased do reply[i + 3] = unleased[i] end
return reply
