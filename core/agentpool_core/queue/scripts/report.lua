-- report: stores a checkpoint, progress or durable steps that a running handler reports.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 token, 3 field (checkpoint, progress or steps), 4 value (JSON; of steps: number of the last step),
--        5 worker, then three for each step: number, STEP (codec/layout.py), result (JSON)
-- Returns {'ok'} | {'stale'}: the lease is no longer current; nothing was written.
-- Events progress (detail: the value, if short); none for a checkpoint, which only the job's own history records, and none
--        for steps.

--- include: pool
--- include: jobs

local DETAIL_MAX_BYTES = 1024

local id, token, field, value = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local job = jobs.load(id)
if not job or job.state ~= 'running' or job.token ~= token then return { 'stale' } end
if job.worker ~= ARGV[5] then return { 'stale' } end
if field == 'checkpoint' then
  jobs.save_state(job, value)
elseif field == 'steps' then
  local new = 0
  for i = 6, #ARGV, 3 do
    new = new + redis.call('HSET', job.key, 'step:' .. ARGV[i], ARGV[i + 1], 'out:' .. ARGV[i], ARGV[i + 2])
  end
  if new > 0 and job.alone then redis.call('HDEL', job.key, 'losses') end -- the lone job goes on, and its worker lives
  local last = number_or(redis.call('HGET', job.key, 'steps'), 0) -- a wait may end after steps of higher numbers
  redis.call('HSET', job.key, 'steps', math.max(last, tonumber(value)))
else
  redis.call('HSET', job.key, 'progress', value)
  jobs.append_event('progress', job, #value <= DETAIL_MAX_BYTES and value or '')
  jobs.write_events()
end
return { 'ok' }
