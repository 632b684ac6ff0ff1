-- configure: publishes a pool's settings. A change wakes a worker, because a limit may have risen.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   field, value, ... (core/agentpool_core/queue/settings.py), including revision
-- Returns {'changed' | 'unchanged'}
-- Events none.

--- include: pool

local fields = {}
for i = 1, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
if redis.call('HGET', CONF, 'revision') == fields.revision then return { 'unchanged' } end
redis.call('DEL', CONF)
for i = 1, #ARGV, CALL_ARGS_MAX do
  redis.call('HSET', CONF, unpack(ARGV, i, math.min(i + CALL_ARGS_MAX - 1, #ARGV)))
end
-- The limits may have changed: each bucket for which jobs wait is looked at again.
redis.call('ZUNIONSTORE', LIMITED, 1, LIMITED, 'WEIGHTS', 0)
ring()
return { 'changed' }
