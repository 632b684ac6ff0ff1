-- schedules: returns all schedules of a pool. Only reads.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   none
-- Returns {'ok', now ms, [name, definition (JSON), ...] of the AgentPool, [name, definition, ...] of dynamic schedules,
--        [name, next due ms, ...], [name, 'due ms, outcome, job id' of the last due time, ...], [name, ...] paused}
--        | {'unknown_pool'}
-- Events none.

--- include: pool
--- include: schedules

local declared = {}
local conf = redis.call('HGETALL', CONF)
if #conf == 0 then return { 'unknown_pool' } end
for i = 1, #conf, 2 do
  local name = string.match(conf[i], '^schedule:(.+)$')
  if name then
    declared[#declared + 1] = name
    declared[#declared + 1] = conf[i + 1]
  end
end
return {
  'ok', now, declared, redis.call('HGETALL', schedules.defined), redis.call('ZRANGE', schedules.due, 0, -1, 'WITHSCORES'),
  redis.call('HGETALL', schedules.last), redis.call('SMEMBERS', schedules.paused),
}
