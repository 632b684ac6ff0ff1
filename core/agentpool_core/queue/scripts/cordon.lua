-- cordon: names the workers that take no more jobs, because they are about to be removed, and says what each still holds.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 how long it holds in ms, unless it is said again, 2.. workers, registered or not; all others take jobs again
-- Returns {'ok', jobs that the first holds, jobs that the second holds, ...}
-- Events none.

--- include: pool
--- include: job
--- include: stray
--- include: workers

local HELD_MAX = 100 -- more are not counted
write_though_memory_is_full() -- workers may leave a pool that is full
local till = now + tonumber(ARGV[1])
local named, reply = {}, { 'ok' }
local all = streams()
for i = 2, #ARGV do
  local worker, held = ARGV[i], 0
  named['x:' .. worker] = true
  redis.call('HSET', BOOKS, 'x:' .. worker, till)
  for _, stream in ipairs(all) do held = held + #redis.call('XPENDING', stream, GROUP, '-', '+', HELD_MAX, worker) end
  reply[i] = held
end
for _, field in ipairs(redis.call('HKEYS', BOOKS)) do
  if string.sub(field, 1, 2) == 'x:' and not named[field] then
    redis.call('HDEL', BOOKS, field)
    local orders = PREFIX .. 'ctl:' .. string.sub(field, 3)
    redis.call('RPUSH', orders, 'wake 0 -')
    redis.call('EXPIRE', orders, LIST_TTL_S)
  end
end
if #ARGV > 1 then redis.call('HSET', BOOKS, 'cordoned', '1') else redis.call('HDEL', BOOKS, 'cordoned') end
return reply
