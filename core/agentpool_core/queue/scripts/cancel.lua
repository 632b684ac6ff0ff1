-- cancel: ends a waiting job, or orders the worker of a running job to stop the job; `tree`: with all that it has started.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 reason, 3 'tree' | 'more': only continue with the children that are left | ''
-- Returns {'cancelled' | 'requested' | 'finished' | 'unknown', 1: call again with 'more' to end more jobs | 0}
-- Events cancelled, or cancelling for a running job; those of children.

--- include: pool
--- include: announce
--- include: cancelling
--- include: children
--- include: jobs

write_though_memory_is_full()
local id, reason, how = ARGV[1], ARGV[2], ARGV[3]
local job = jobs.load(id)
if not job then return { 'unknown', 0 } end
local outcome = 'finished'
if how == 'more' then
  children.continue()
elseif how == 'tree' then
  outcome = cancelling.cancel_tree(job, reason)
else
  outcome = cancelling.cancel(job, reason)
end
cancelling.continue()
announce.conclude()
return { outcome, redis.call('EXISTS', RELEASING, PREFIX .. 'stopping') > 0 and 1 or 0 }
