-- Quarantine: a suspect (lib/jobs.lua) runs alone, because a further loss of its worker then identifies the cause.
--
-- One suspect runs at a time. The first worker that claims while a suspect waits is reserved (counter field `alone`: its
-- name) and receives no jobs until it holds none. Then it receives the oldest suspect (`alone_job`: its id). A worker that
-- holds no jobs replaces a reserved worker that is still busy.

--- include: announce
--- include: jobs
--- include: limits

local SUSPECTS_LOOK = 20 -- oldest suspects read to find one that the limits let start

local function holds_something(worker)
  for _, stream in ipairs(streams()) do
    if redis.call('XPENDING', stream, GROUP, '-', '+', 1, worker)[1] then return true end
  end
  return false
end

-- Returns the oldest suspect that the limits let start; nil: none.
local function next_suspect()
  for _, id in ipairs(redis.call('ZRANGE', SUSPECTS, 0, SUSPECTS_LOOK - 1)) do
    local job = jobs.load(id)
    if not job or job.broken or job.state ~= 'queued' then -- the record is missing or has changed
      redis.call('ZREM', SUSPECTS, id)
    else
      local limit = setting_or(redis.call('HGET', CONF, 'limit:' .. job.spec.route), math.huge)
      local running = counter_of(job.spec.running)
      if running < limit and limits.allows(job) then return job end
    end
  end
end

local function still_runs(id)
  if redis.pcall('HGET', PREFIX .. 'job:' .. id, 'state') == 'running' then return true end
  redis.call('HDEL', COUNTERS, 'alone_job')
  return false
end

-- Returns 'alone' and a suspect for this worker, 'reserved' if the worker must not claim now, or nil: a normal claim.
function quarantine.role_of(worker, suspects, holder, job_id)
  if job_id and not still_runs(job_id) then job_id = nil end
  if holder ~= worker and job_id then return nil end
  if suspects <= 0 and not job_id then
    redis.call('HDEL', COUNTERS, 'alone')
    return nil
  end
  local busy = holds_something(worker)
  if holder == worker and busy then return 'reserved' end
  if holder and holder ~= worker and busy and redis.call('ZSCORE', WORKERS, holder) then return nil end
  local job = next_suspect()
  if not job then
    if holder == worker then redis.call('HDEL', COUNTERS, 'alone') end
    return nil
  end
  redis.call('HSET', COUNTERS, 'alone', worker)
  if busy then return 'reserved' end
  return 'alone', job
end

-- Leases the suspect to the worker. Ends a claim: `reply` and `start` are those of lib/claim.lua.
function quarantine.start_alone(job, worker, reply, start)
  local entry = redis.call('XCLAIM', job.spec.stream, GROUP, worker, 0, job.entry)[1]
  local c = {
    kept = true, count = 1, rank = 1, field = 'u' .. job.spec.place, place = job.spec.place, stream = job.spec.stream,
  }
  redis.call('ZREM', SUSPECTS, job.id)
  bump('suspects', -1)
  if entry and start(entry, c, worker, reply) then
    redis.call('HSET', job.key, 'alone', '1', 'mark', '1')
    redis.call('HSET', COUNTERS, 'alone_job', job.id)
    bump(c.field, -1)
    bump('queued', -1)
    bump('running', 1)
    bump('started', 1)
    bump(job.spec.running, 1)
    for _, room in ipairs(limits.gates_of(job.spec.route)) do limits.charge(room, 1) end
  end
  announce.conclude()
  return reply
end
