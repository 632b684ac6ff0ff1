-- Waiting of a started job for a time or a signal, without a slot. A waiting job's entry is parked, so the job keeps its place.
--
-- The field `wait` holds the awaited signals, NAME=NUMBER separated by blanks: the job waits for the signal of that name
-- with that number, from 1. Each signal is stored with the job, whether the job waits or not.

--- include: jobs

-- Whether a signal that the text names is stored.
function pause.is_signalled(job, wait)
  for signal in string.gmatch(wait, '%S+') do
    if redis.call('HEXISTS', job.key, 'sig:' .. signal) == 1 then return true end
  end
  return false
end

-- Parks the entry, which keeps its place while the job waits. A job whose entry is lost gets a new entry when it is due.
function pause.park(job)
  if #redis.pcall('XCLAIM', job.spec.stream, GROUP, PARKED, 0, job.entry, 'JUSTID') == 0 then
    redis.call('HDEL', job.key, 'entry')
  end
end

-- Suspends a running job whose slot is free already, for `ms` ('': without a limit) or until a signal of `wait`. The
-- attempt does not count. A job whose signal is stored, or whose time has come, is ready again at once.
function pause.suspend(job, wait, ms)
  local left = number_or(ms, math.huge)
  jobs.note_change(job, 'waiting')
  job.attempt = math.max(0, job.attempt - 1)
  jobs.append_event('waiting', job, wait)
  if left <= 0 or pause.is_signalled(job, wait) then
    jobs.ready_again(job)
    jobs.note_change(job, 'resumed')
    jobs.append_event('resumed', job)
    redis.call('HSET', job.key, 'state', 'queued', 'lease', jobs.lease_text(job))
    return 'waiting'
  end
  pause.park(job)
  redis.call('HSET', job.key, 'state', 'waiting', 'wait', wait, 'lease', jobs.lease_text(job))
  if left < math.huge then redis.call('HSET', job.key, 'due', string.format('%.0f', now + left)) end
  redis.call('ZADD', WAITING, left < math.huge and string.format('%.0f', now + left) or '+inf', job.id)
  return 'waiting'
end

-- Returns a waiting job to its place in the queue.
function pause.resume(job)
  redis.call('ZREM', WAITING, job.id)
  if job.entry then jobs.ready_again(job) else jobs.append_entry(job) end
  redis.call('HSET', job.key, 'state', 'queued', 'entry', job.entry)
  redis.call('HDEL', job.key, 'due', 'wait')
  jobs.note_change(job, 'resumed')
  jobs.append_event('resumed', job)
end
