-- cordon: stops the named workers from claiming before they are removed, and counts the jobs that each still holds.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 duration of the cordon in ms, unless repeated, 2.. workers, registered or not; all other workers claim again
-- Returns {'ok', jobs held by the first worker, jobs held by the second worker, ...}
-- Events none.

--- include: pool

local HELD_MAX = 100 -- entries counted for each worker and stream
write_though_memory_is_full() -- a full pool must still allow scale-in
local till = now + tonumber(ARGV[1])
local named, reply = {}, { 'ok' }
local all = streams()
for i = 2, #ARGV do
  local worker, held = ARGV[i], 0
  named['x:' .. worker] = true
  redis.call('HSET', COUNTERS, 'x:' .. worker, till)
  for _, stream in ipairs(all) do held = held + #redis.call('XPENDING', stream, GROUP, '-', '+', HELD_MAX, worker) end
  reply[i] = held
end
for _, field in ipairs(redis.call('HKEYS', COUNTERS)) do
  if string.sub(field, 1, 2) == 'x:' and not named[field] then
    redis.call('HDEL', COUNTERS, field)
    local orders = PREFIX .. 'ctl:' .. string.sub(field, 3)
    redis.call('RPUSH', orders, 'wake 0 -')
    redis.call('EXPIRE', orders, LIST_TTL_SECONDS)
  end
end
if #ARGV > 1 then redis.call('HSET', COUNTERS, 'cordoned', '1') else redis.call('HDEL', COUNTERS, 'cordoned') end
return reply
