-- Ends waiting jobs, for cancel and expiry.

--- include: jobs
--- include: holding
--- include: lines
--- include: tombstones

local function leave_queue(job)
  local place = job.spec.place
  if job.held then
    holding.leave(job)
    drop_entry(job.spec.stream, job.entry)
    return false
  end
  holding.leave(job)
  bump('queued', -1)
  if redis.call('ZREM', SUSPECTS, job.id) == 1 then
    bump('u' .. place, -1)
    bump('suspects', -1)
    drop_entry(job.spec.stream, job.entry)
    return false
  end
  if lines.leave(job) then
    bump('n' .. place, -1)
    drop_entry(job.spec.stream, job.entry)
    return false
  end
  if id_after(job.entry, redis.call('HGET', COUNTERS, 'c' .. place)) then
    bump('q' .. place, -1)
    bump('t' .. place, 1)
    return true
  end
  bump('y' .. place, -1)
  drop_entry(job.spec.stream, job.entry)
  return false
end

function waiting.leave_blocked(job)
  redis.call('SREM', BLOCKED, job.id)
  for parent in string.gmatch(redis.call('HGET', job.key, 'after') or '', '%S+') do
    redis.call('SREM', PREFIX .. 'kids:' .. parent, job.id)
  end
end

-- Ends a queued, scheduled, blocked or waiting job with `state`.
function waiting.end_job(job, state, reason)
  local tombstone = false
  if job.state == 'queued' then
    tombstone = leave_queue(job)
  elseif job.state == 'scheduled' or job.state == 'waiting' then
    redis.call('ZREM', job.state == 'waiting' and WAITING or DUE, job.id)
    if job.entry then drop_entry(job.spec.stream, job.entry) end
  else
    waiting.leave_blocked(job)
  end
  if jobs.has_flag(job, 't') then redis.call('ZREM', TTL, job.id) end
  jobs.finish(job, state, 'reason', reason, reason)
  if tombstone then tombstones.sweep(job.spec.stream, job.spec.route, job.spec.priority) end
end
