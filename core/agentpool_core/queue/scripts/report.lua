-- report: stores a checkpoint or the progress that a running handler reports.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 token, 3 field (checkpoint or progress), 4 value (JSON), 5 worker
-- Returns {'ok'} | {'stale'}: the lease is no longer current; nothing was written.
-- Events progress (detail: the value, if short); none for a checkpoint, which only the job's own history records.

--- include: pool
--- include: job

local DETAIL_MAX_BYTES = 1024

local id, token, field, value = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local job = load(id)
if not job or job.state ~= 'running' or job.token ~= token then return { 'stale' } end
if job.worker ~= ARGV[5] then return { 'stale' } end
if field == 'checkpoint' then
  save_state(job, value)
else
  redis.call('HSET', job.key, 'progress', value)
  append_event('progress', job, #value <= DETAIL_MAX_BYTES and value or '')
  write_events()
end
return { 'ok' }
