-- cancel: ends a waiting job, or orders the worker of a running job to stop the job.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 reason
-- Returns {'cancelled' | 'requested' | 'finished' | 'unknown', 1: call again to end more children | 0}
-- Events cancelled, or cancelling for a running job; those of children.

--- include: pool
--- include: job
--- include: limits
--- include: lines
--- include: children
--- include: waits
--- include: groups
--- include: announce
--- include: sweep
--- include: waiting
--- include: cancelling

write_though_memory_is_full()
local id, reason = ARGV[1], ARGV[2]
local job = load(id)
if not job then return { 'unknown', 0 } end
local outcome = cancel_job(job, reason)
if outcome == 'finished' then continue_release() end
conclude()
return { outcome, outcome == 'requested' and 0 or redis.call('EXISTS', RELEASING) }
