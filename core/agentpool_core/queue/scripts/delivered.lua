-- delivered: records one try to deliver a message of the outbox.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 message, 2 outcome: delivered, failed (given up), retrying; 3 number of the try, 4 answer of the receiver or
--        error; retrying: 5 time until the next try (ms)
-- Returns {'ok'} | {'gone'}: the job or its webhook has been deleted
-- Events none.

--- include: pool

write_though_memory_is_full()
local message, outcome = ARGV[1], ARGV[2]
local id, name, change, at = string.match(message, '^(%S+) (%S+) (%S+) (%d+)$')
local key = PREFIX .. 'job:' .. id
if outcome == 'retrying' then
  redis.call('ZADD', PREFIX .. 'outbox', 'XX', now + tonumber(ARGV[5]), message)
else
  redis.call('ZREM', PREFIX .. 'outbox', message)
end
local v = redis.pcall('HMGET', key, 'state', 'hook:' .. name)
if v.err or not (v[1] and v[2]) then return { 'gone' } end
redis.call('HSET', key, 'sent:' .. name .. '=' .. change, outcome .. ' ' .. at .. ' ' .. ARGV[3] .. ' ' .. now_text .. ' ' .. ARGV[4])
return { 'ok' }
