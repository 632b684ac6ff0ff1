-- schedule: creates, deletes, pauses or resumes a schedule.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 verb: put, delete, pause, resume; 2 name; put: 3 definition (JSON), 4 first due time (ms; '': none), 5 most
--        schedules; resume: 3 next due time (ms; '': none)
-- Returns {'ok'} | {'unknown_pool'} | {'unknown'} | {'declared'} (by the AgentPool: not changed here) | {'too_many'}
-- Events none.

--- include: pool
--- include: schedules

local verb, name = ARGV[1], ARGV[2]

local function stand_at(due)
  if due == '' or redis.call('SISMEMBER', schedules.paused, name) == 1 then
    redis.call('ZREM', schedules.due, name)
  else
    redis.call('ZADD', schedules.due, due, name)
  end
end

local VERBS = {
  put = function(declared)
    if declared then return { 'declared' } end
    local known = redis.call('HGET', schedules.defined, name)
    if not known and redis.call('HLEN', schedules.defined) >= tonumber(ARGV[5]) then return { 'too_many' } end
    redis.call('HSET', schedules.defined, name, ARGV[3])
    if known ~= ARGV[3] then stand_at(ARGV[4]) end
    ring() -- an idle worker plans its next maintenance by the due time
    return { 'ok' }
  end,
  delete = function(declared)
    if declared then return { 'declared' } end
    if redis.call('HDEL', schedules.defined, name) == 0 then return { 'unknown' } end
    redis.call('ZREM', schedules.due, name)
    redis.call('HDEL', schedules.last, name)
    redis.call('SREM', schedules.paused, name)
    return { 'ok' }
  end,
  pause = function(declared)
    if not declared and redis.call('HEXISTS', schedules.defined, name) == 0 then return { 'unknown' } end
    redis.call('SADD', schedules.paused, name)
    redis.call('ZREM', schedules.due, name)
    return { 'ok' }
  end,
  resume = function(declared)
    if not declared and redis.call('HEXISTS', schedules.defined, name) == 0 then return { 'unknown' } end
    if redis.call('SREM', schedules.paused, name) == 1 then stand_at(ARGV[3]) end
    return { 'ok' }
  end,
}

if redis.call('EXISTS', CONF) == 0 then return { 'unknown_pool' } end
return VERBS[verb](redis.call('HEXISTS', CONF, 'schedule:' .. name) == 1)
