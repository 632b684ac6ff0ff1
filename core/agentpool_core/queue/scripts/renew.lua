-- renew: extends a worker's lease, and with it the lease of every job that the worker holds.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 slots, 3 running, 4 why the worker claims no jobs, one line; or ''
-- Returns {'lost', settings revision}: the lease expired and the jobs were recovered
--        | {'ok', settings revision, route:priority, entry, ...}: the entries that the queue holds for the worker
-- Events none.

--- include: pool
--- include: clock
--- include: workers

write_though_memory_is_full()
clock.keep_time()
local conf = redis.call('HMGET', CONF, 'revision', 'lease_ms')
local worker, slots, running = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if not redis.call('ZSCORE', WORKERS, worker) then return { 'lost', conf[1] or '' } end
local info = redis.call('HGET', WORKER_INFO, worker) or '0 0 0 -'
local since, host = string.match(info, '^%d+ %d+ (%d+) ([^\n]*)')
since, host = since or string.format('%.0f', now), host or '-'
redis.call('ZADD', WORKERS, 'XX', now + setting_or(conf[2], 10000), worker)
workers.write_info(worker, slots, running, since, host, ARGV[4])
write_books()
local reply = { 'ok', conf[1] or '' }
workers.each_held(worker, function(stream, entry)
  local n = #reply
  reply[n + 1], reply[n + 2] = string.sub(stream, #PREFIX + 3), entry
end)
return reply
