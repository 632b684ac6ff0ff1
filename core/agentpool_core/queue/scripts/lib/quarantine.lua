-- Quarantine: a suspect (lib/job.lua) runs alone, so that it is known who ended the worker, should it be lost again.
--
-- One suspect runs at a time. The first worker that claims while one waits is reserved for it: `alone` in the books is its
-- name, and it is given nothing more until it holds nothing. Then it gets one suspect, the oldest first; `alone_job` is that
-- job. A worker that holds nothing goes before a reserved one that is still busy.

local SUSPECTS_LOOK = 20 -- the oldest that are looked at for one whose route has room

local function holds_something(worker)
  for _, stream in ipairs(streams()) do
    if redis.call('XPENDING', stream, GROUP, '-', '+', 1, worker)[1] then return true end
  end
  return false
end

-- The oldest suspect whose route has room; nil: none.
local function next_suspect()
  for _, id in ipairs(redis.call('ZRANGE', SUSPECTS, 0, SUSPECTS_LOOK - 1)) do
    local job = load(id)
    if not job or job.broken or job.state ~= 'queued' then -- its record is gone
      redis.call('ZREM', SUSPECTS, id)
    else
      local limit = setting_or(redis.call('HGET', CONF, 'limit:' .. job.spec.route), math.huge)
      local running = number_or(redis.call('HGET', BOOKS, job.spec.running), 0) + (deltas[job.spec.running] or 0)
      if running < limit then return job end
    end
  end
end

local function still_runs(id)
  if redis.pcall('HGET', PREFIX .. 'job:' .. id, 'state') == 'running' then return true end
  redis.call('HDEL', BOOKS, 'alone_job')
  return false
end

-- Returns 'alone' and a suspect for this worker, 'reserved' where it is to be given nothing now, or nil: it claims as ever.
local function quarantine_role(worker, suspects, holder, job_id)
  if job_id and not still_runs(job_id) then job_id = nil end
  if holder ~= worker and job_id then return nil end
  if suspects <= 0 and not job_id then
    redis.call('HDEL', BOOKS, 'alone')
    return nil
  end
  local busy = holds_something(worker)
  if holder == worker and busy then return 'reserved' end
  if holder and holder ~= worker and busy and redis.call('ZSCORE', WORKERS, holder) then return nil end
  local job = next_suspect()
  if not job then
    if holder == worker then redis.call('HDEL', BOOKS, 'alone') end
    return nil
  end
  redis.call('HSET', BOOKS, 'alone', worker)
  if busy then return 'reserved' end
  return 'alone', job
end

-- Gives a worker its one suspect: the end of `claim`, whose reply and `start` these are.
local function start_alone(job, worker, reply, start)
  local entry = redis.call('XCLAIM', job.spec.stream, GROUP, worker, 0, job.entry)[1]
  local c = {
    kept = true, count = 1, rank = 1, field = 'u' .. job.spec.place, place = job.spec.place, stream = job.spec.stream,
  }
  redis.call('ZREM', SUSPECTS, job.id)
  bump('suspects', -1)
  if entry and start(entry, c, worker, reply) then
    redis.call('HSET', job.key, 'alone', '1', 'mark', '1')
    redis.call('HSET', BOOKS, 'alone_job', job.id)
    bump(c.field, -1)
    bump('queued', -1)
    bump('running', 1)
    bump('started', 1)
    bump(job.spec.running, 1)
  end
  conclude()
  return reply
end
