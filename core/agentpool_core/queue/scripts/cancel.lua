-- cancel: ends a waiting job; tells the worker of a running one to stop it.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 reason
-- Returns {'cancelled' | 'requested' | 'finished' | 'unknown'}
-- Events cancelled, or cancelling for a running job; those of children.

--- include: pool
--- include: job
--- include: announce
--- include: sweep
--- include: waiting

write_though_memory_is_full()
local id, reason = ARGV[1], ARGV[2]
local job = load(id)
if not job then return { 'unknown' } end
if is_lost(job) then
  bury(job)
  conclude()
  return { 'finished' }
end
if job.state == 'running' then
  if not job.cancel then
    redis.call('HSET', job.key, 'cancel', reason, 'mark', '1')
    note_change(job, 'cancelling')
    tell('cancelling', job, reason)
    write_events()
  end
  local orders = PREFIX .. 'ctl:' .. job.worker
  redis.call('RPUSH', orders, 'cancel ' .. job.token .. ' ' .. id)
  redis.call('EXPIRE', orders, LIST_TTL_S)
  return { 'requested' }
end
if job.state ~= 'queued' and job.state ~= 'scheduled' and job.state ~= 'blocked' then return { 'finished' } end
end_waiting(job, 'cancelled', reason)
conclude()
return { 'cancelled' }
