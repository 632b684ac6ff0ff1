-- configure: publishes a pool's settings. A change wakes a worker, because a limit may have risen.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 number of due times, then for each: name of a schedule, first due time (ms); then field, value, ...
--        (core/agentpool_core/queue/settings.py), including revision
-- Returns {'changed' | 'unchanged'} | {'newer', format}: a newer release keeps the pool; nothing was written
-- Events none.

--- include: pool
--- include: schedules

local first_field = 2 + 2 * tonumber(ARGV[1])
local fields, first_due, before = {}, {}, {}
for i = first_field, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
for i = 2, first_field - 1, 2 do first_due[ARGV[i]] = ARGV[i + 1] end
local known = redis.call('HMGET', CONF, 'revision', 'format')
if known[1] == fields.revision then return { 'unchanged' } end
if setting_or(known[2], 0) > tonumber(fields.format) then return { 'newer', known[2] } end

-- A new schedule stands at its first due time, and so does a changed one; an unchanged schedule stays where it stands.
local function place_schedules()
  for field, definition in pairs(fields) do
    local name = string.match(field, '^schedule:(.+)$')
    if name then
      redis.call('HDEL', schedules.defined, name)
      if before[field] and before[field] ~= definition then redis.call('ZREM', schedules.due, name) end
      if first_due[name] and redis.call('SISMEMBER', schedules.paused, name) == 0 then
        redis.call('ZADD', schedules.due, 'NX', first_due[name], name)
      end
    end
  end
  for field in pairs(before) do
    local name = string.match(field, '^schedule:(.+)$')
    if name and not fields[field] then
      redis.call('ZREM', schedules.due, name)
      redis.call('HDEL', schedules.last, name)
      redis.call('SREM', schedules.paused, name)
    end
  end
end

before = pairs_of(redis.call('HGETALL', CONF))
redis.call('DEL', CONF)
for i = first_field, #ARGV, CALL_ARGS_MAX do
  redis.call('HSET', CONF, unpack(ARGV, i, math.min(i + CALL_ARGS_MAX - 1, #ARGV)))
end
place_schedules()
-- The limits may have changed: each bucket for which jobs wait is looked at again.
redis.call('ZUNIONSTORE', LIMITED, 1, LIMITED, 'WEIGHTS', 0)
ring()
return { 'changed' }
