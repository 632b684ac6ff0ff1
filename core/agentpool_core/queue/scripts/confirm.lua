-- confirm: writes, so that WAIT or WAITAOF behind it cover all earlier writes, and counts the jobs that are missing.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1.. ids of submitted jobs
-- Returns the number of jobs without a record: a failover has lost them.
-- Events none.

local PREFIX = string.sub(KEYS[1], 1, -5)

redis.call('HINCRBY', PREFIX .. 'counters', 'confirmed', 1)
local missing = 0
for _, id in ipairs(ARGV) do missing = missing + 1 - redis.call('EXISTS', PREFIX .. 'job:' .. id) end
return missing
