-- Cancels jobs, for cancel and apply. Needs lib/waiting.lua.

-- Orders the worker of a running job to stop the job. Returns whether this is the first order.
local function request_cancel(job, reason)
  local first = not job.cancel
  if first then
    redis.call('HSET', job.key, 'cancel', reason, 'mark', '1')
    note_change(job, 'cancelling')
    append_event('cancelling', job, reason)
  end
  local orders = PREFIX .. 'ctl:' .. job.worker
  redis.call('RPUSH', orders, 'cancel ' .. job.token .. ' ' .. job.id)
  redis.call('EXPIRE', orders, LIST_TTL_SECONDS)
  return first
end

-- Returns 'cancelled', 'requested' for a running job, or 'finished' for a job that has ended.
local function cancel_job(job, reason)
  if is_undecodable(job) then
    fail_undecodable(job)
    return 'finished'
  end
  if job.state == 'running' then
    request_cancel(job, reason)
    return 'requested'
  end
  if not STATES[job.state] then return 'finished' end
  end_waiting(job, 'cancelled', reason)
  return 'cancelled'
end
