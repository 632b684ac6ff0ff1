-- Registered workers: leases, slots, and the recovery of a lost worker's jobs.

--- include: jobs
--- include: stray

workers.RECOVER_MAX = 500 -- jobs recovered in one script

-- Writes info: 'slots running sinceMs host', and on a second line why the worker claims no jobs, if it does not.
function workers.write_info(worker, slots, running, since, host, note)
  bump('slots', slots - slots_of(worker))
  local info = slots .. ' ' .. running .. ' ' .. since .. ' ' .. host
  redis.call('HSET', WORKER_INFO, worker, note == '' and info or info .. '\n' .. note)
end

-- Recovers a running job from its worker; the attempt counts. `crash` = {explained, culprits}: the worker ended under its
-- jobs, and a job may be the cause (culprits: id -> true; nil: each job). `crash` is nil if the worker did not crash.
local function recover(job, error, crash)
  jobs.release_slot(job)
  if job.cancel then
    drop_entry(job.spec.stream, job.entry)
    jobs.finish(job, 'cancelled', 'reason', job.cancel, job.cancel)
  elseif crash and crash.culprits and not crash.culprits[job.id] then
    jobs.requeue(job, 'returned', error, '')
  elseif crash then
    jobs.apply_loss(job, error, crash.explained)
  elseif job.attempt >= jobs.max_attempts_of(job) then
    drop_entry(job.spec.stream, job.entry)
    jobs.finish(job, 'failed', 'error', error, error)
  else
    jobs.ready_again(job)
    redis.call('HSET', job.key, 'state', 'queued', 'error', error)
    jobs.note_change(job, 'recovered')
    jobs.append_event('recovered', job, error)
  end
end

-- Recovers up to `budget` jobs of a worker from one stream. Returns how many entries were held.
local function recover_from_stream(worker, stream, budget, error, crash)
  local held = redis.call('XPENDING', stream, GROUP, '-', '+', budget, worker)
  for _, item in ipairs(held) do
    local entry = redis.call('XRANGE', stream, item[1], item[1])[1]
    local job = entry and jobs.load(entry[2][2])
    if job and jobs.is_undecodable(job) then
      jobs.fail_undecodable(job, stream, item[1])
    elseif job and job.state == 'running' and job.entry == item[1] then
      recover(job, error, crash)
    elseif job and job.entry == item[1] and jobs.consumer_of(job) then
      redis.call('XCLAIM', stream, GROUP, jobs.consumer_of(job), 0, item[1], 'JUSTID')
    else
      stray.drop(job, stream, item[1])
    end
  end
  return #held
end


-- Calls visit(stream, entry id) for each entry that a worker holds. A stream that Redis has lost holds none.
function workers.each_held(worker, visit)
  local PAGE = 500 -- held entries read at once
  for _, stream in ipairs(streams()) do
    local from = '-'
    while true do
      local page = redis.pcall('XPENDING', stream, GROUP, from, '+', PAGE, worker)
      if page.err then break end
      for _, item in ipairs(page) do visit(stream, item[1]) end
      if #page < PAGE then break end
      from = '(' .. page[#page][1]
    end
  end
end

local function remove_worker(worker)
  bump('slots', -slots_of(worker))
  redis.call('ZREM', WORKERS, worker)
  redis.call('HDEL', WORKER_INFO, worker)
  redis.call('HDEL', WORKER_KINDS, worker)
  redis.call('HDEL', COUNTERS, 'x:' .. worker, 'b:' .. worker)
  if redis.call('HGET', COUNTERS, 'alone') == worker then redis.call('HDEL', COUNTERS, 'alone', 'alone_job') end
  redis.call('DEL', PREFIX .. 'ctl:' .. worker)
end

-- Recovers a worker's jobs, and removes the worker once it holds none. Returns how many were recovered.
function workers.recover_jobs_of(worker, error, crash)
  local taken = 0
  local all = streams()
  for _, stream in ipairs(all) do
    if taken < workers.RECOVER_MAX then
      taken = taken + recover_from_stream(worker, stream, workers.RECOVER_MAX - taken, error, crash)
    end
  end
  write_acks()
  if taken < workers.RECOVER_MAX then
    for _, stream in ipairs(all) do redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, worker) end
    remove_worker(worker)
  end
  return taken
end
