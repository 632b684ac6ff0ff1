-- discard: deletes dead letters, oldest first.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 limit, then ids; without ids: the oldest
-- Returns {dead letters deleted}
-- Events none.

--- include: pool

write_though_memory_is_full()
local ids = {}
for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then ids = redis.call('ZRANGE', DEAD, 0, tonumber(ARGV[1]) - 1) end
local gone = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', DEAD, id) == 1 then
    local key = PREFIX .. 'job:' .. id
    local idem = redis.pcall('HGET', key, 'idem')
    if type(idem) == 'string' then redis.call('DEL', PREFIX .. 'key:' .. string.match(idem, '^%S*')) end
    redis.call('DEL', key, PREFIX .. 'started:' .. id, PREFIX .. 'group:' .. id)
    gone = gone + 1
  end
end
return { gone }
