-- outbox: takes messages to webhooks whose time has come, and reserves them for the caller.
--
-- A message that is not reported (`delivered`) in the reserved time is due again: its sender has died.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 most messages, 2 reserved time (ms)
-- Returns a list of {message, definition (JSON), DELIVERY or ''}
-- Events none.

--- include: pool

local OUTBOX = PREFIX .. 'outbox'
local found = {}
for _, message in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local id, name, change = string.match(message, '^(%S+) (%S+) (%S+) %d+$')
  local v = id and redis.pcall('HMGET', PREFIX .. 'job:' .. id, 'state', 'hook:' .. name, 'sent:' .. name .. '=' .. change)
  if v and v[1] and v[2] then
    redis.call('ZADD', OUTBOX, now + tonumber(ARGV[2]), message)
    found[#found + 1] = { message, v[2], v[3] or '' }
  else -- the job or its webhook is gone
    redis.call('ZREM', OUTBOX, message)
  end
end
return found
