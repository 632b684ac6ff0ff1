-- cancel: ends a waiting job, or orders the worker of a running job to stop the job.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 reason
-- Returns {'cancelled' | 'requested' | 'finished' | 'unknown', 1: call again to end more children | 0}
-- Events cancelled, or cancelling for a running job; those of children.

--- include: pool
--- include: job
--- include: limits
--- include: children
--- include: announce
--- include: sweep
--- include: waiting

write_though_memory_is_full()
local id, reason = ARGV[1], ARGV[2]
local job = load(id)
if not job then return { 'unknown', 0 } end
if is_undecodable(job) then
  fail_undecodable(job)
  conclude()
  return { 'finished', 0 }
end
if job.state == 'running' then
  if not job.cancel then
    redis.call('HSET', job.key, 'cancel', reason, 'mark', '1')
    note_change(job, 'cancelling')
    append_event('cancelling', job, reason)
    write_events()
  end
  local orders = PREFIX .. 'ctl:' .. job.worker
  redis.call('RPUSH', orders, 'cancel ' .. job.token .. ' ' .. id)
  redis.call('EXPIRE', orders, LIST_TTL_SECONDS)
  return { 'requested', 0 }
end
local outcome = 'finished'
if STATES[job.state] then
  end_waiting(job, 'cancelled', reason)
  outcome = 'cancelled'
else
  continue_release()
end
conclude()
return { outcome, redis.call('EXISTS', RELEASING) }
