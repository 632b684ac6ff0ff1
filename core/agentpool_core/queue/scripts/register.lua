-- register: registers a worker and gives it a lease. A second call renews the lease.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 slots, 3 host and version of the worker, separated by a blank, 4 kinds of job that the worker runs,
--        separated by blanks; '*': every kind, 5 newest format that the worker reads
-- Returns {'ok', field, value, ...} of conf; only the format, unregistered, if it is newer | {'unknown_pool'}
-- Events none: workers are not jobs.

--- include: pool
--- include: clock
--- include: workers

local conf = redis.call('HGETALL', CONF)
if #conf == 0 then return { 'unknown_pool' } end
local settings = pairs_of(conf)
if setting_or(settings.format, 0) > tonumber(ARGV[5]) then return { 'ok', 'format', settings.format } end
write_though_memory_is_full() -- without workers, a full queue never drains
clock.keep_time()
local worker, slots, host = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local lease_ms = setting_or(settings.lease_ms, 10000)
redis.call('ZADD', WORKERS, now + lease_ms, worker)
workers.write_info(worker, slots, 0, now, host, '')
redis.call('HSET', WORKER_KINDS, worker, ARGV[4] or '*')
write_books()
local reply = { 'ok' }
for i = 1, #conf do reply[i + 1] = conf[i] end
return reply
