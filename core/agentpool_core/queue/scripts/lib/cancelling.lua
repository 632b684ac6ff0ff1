-- Cancels jobs, single ones and what they have started.

--- include: groups
--- include: jobs
--- include: waiting

-- Orders the worker of a running job to stop the job. Returns whether this is the first order.
function cancelling.request(job, reason)
  local first = not job.cancel
  if first then
    redis.call('HSET', job.key, 'cancel', reason, 'mark', '1')
    jobs.note_change(job, 'cancelling')
    jobs.append_event('cancelling', job, reason)
  end
  local orders = PREFIX .. 'ctl:' .. job.worker
  redis.call('RPUSH', orders, 'cancel ' .. job.token .. ' ' .. job.id)
  redis.call('EXPIRE', orders, LIST_TTL_SECONDS)
  return first
end

-- Returns 'cancelled', 'requested' for a running job, or 'finished' for a job that has ended.
function cancelling.cancel(job, reason)
  if jobs.is_undecodable(job) then
    jobs.fail_undecodable(job)
    return 'finished'
  end
  if job.state == 'running' then
    cancelling.request(job, reason)
    return 'requested'
  end
  if not jobs.STATES[job.state] then return 'finished' end
  waiting.end_job(job, 'cancelled', reason)
  return 'cancelled'
end

-- Cancels a job with all that it has started, and will start before it ends. Returns an outcome as `cancel`.
function cancelling.cancel_tree(job, reason)
  if job.started or jobs.STATES[job.state] then
    job.started = 'tree'
    redis.call('HSET', job.key, 'started', 'tree', 'mark', '1')
  end
  local outcome = cancelling.cancel(job, reason)
  if job.started and outcome ~= 'cancelled' then groups.begin_stop(job, reason) end
  return outcome
end

-- Cancels jobs that one job has started, within `budget`. Returns the rest of the budget.
function cancelling.stop_some(id, budget)
  local PAGE = 100 -- jobs looked at in one step
  local key = PREFIX .. 'job:' .. id
  local mode, cursor, reason = string.match(redis.pcall('HGET', key, 'stop') or '', '^(%a+) (%d+) (.*)$')
  local page = mode and redis.pcall('SSCAN', PREFIX .. 'started:' .. id, cursor, 'COUNT', PAGE)
  if not page or page.err then
    redis.call('SREM', PREFIX .. 'stopping', id)
    return budget - 1
  end
  if page[1] == '0' then
    redis.call('SREM', PREFIX .. 'stopping', id)
    redis.call('HDEL', key, 'stop')
  else
    redis.call('HSET', key, 'stop', mode .. ' ' .. page[1] .. ' ' .. reason)
  end
  for _, child in ipairs(page[2]) do
    local job = jobs.load(child)
    if job and mode == 'tree' then
      cancelling.cancel_tree(job, reason)
    elseif job and jobs.has_flag(job, 'g') then
      cancelling.cancel(job, reason)
    end
  end
  return budget - 1 - #page[2]
end

-- Continues where earlier scripts stopped. Returns whether jobs are left.
function cancelling.continue()
  local budget = 200 -- jobs in one script
  while budget > 0 do
    local id = redis.call('SRANDMEMBER', PREFIX .. 'stopping')
    if not id then return false end
    budget = cancelling.stop_some(id, budget)
  end
  return redis.call('EXISTS', PREFIX .. 'stopping') == 1
end
