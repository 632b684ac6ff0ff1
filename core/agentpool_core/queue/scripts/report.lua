-- report: stores a checkpoint, progress, durable steps or output that a running handler reports.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 token, 3 field (checkpoint, progress, steps or chunks), 4 value (JSON; of steps: number of the last
--        step; of chunks: number of the first chunk), 5 worker, then three for each step: number, STEP (codec/layout.py),
--        result (JSON), or each chunk (JSON)
-- Returns {'ok'} | {'stale'}: the lease is no longer current; nothing was written.
-- Events progress (detail: the value, if short); none for a checkpoint, which only the job's own history records, and none
--        for steps and output.

--- include: pool
--- include: jobs

local DETAIL_MAX_BYTES = 1024
local CHUNKS_MAX = 10000 -- approximate number of chunks kept of a job, as in chunks.py
local CHUNKS_TTL_S = 2678400 -- 31 days after the last chunk

-- Appends the chunks that are not stored yet: a caller that lost the reply repeats the call.
local function append_chunks(job, first)
  local stream = PREFIX .. 'chunks:' .. job.id
  local run, last = string.match(redis.call('HGET', job.key, 'emits') or '', '^(%d+) (%d+)$')
  last = run == ARGV[2] and tonumber(last) or 0
  for i = 6, #ARGV do
    local number = first + i - 6
    if number > last then
      redis.call('XADD', stream, 'MAXLEN', '~', CHUNKS_MAX, '*', 'at', ARGV[2] .. ' ' .. job.attempt .. ' ' .. number,
        'data', ARGV[i])
    end
  end
  redis.call('HSET', job.key, 'emits', ARGV[2] .. ' ' .. math.max(last, first + #ARGV - 6), 'mark', '1')
  redis.call('EXPIRE', stream, CHUNKS_TTL_S)
end

local id, token, field, value = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local job = jobs.load(id)
if not job or job.state ~= 'running' or job.token ~= token then return { 'stale' } end
if job.worker ~= ARGV[5] then return { 'stale' } end
if field == 'checkpoint' then
  jobs.save_state(job, value)
elseif field == 'steps' then
  for i = 6, #ARGV, 3 do
    redis.call('HSET', job.key, 'step:' .. ARGV[i], ARGV[i + 1], 'out:' .. ARGV[i], ARGV[i + 2])
  end
  local last = number_or(redis.call('HGET', job.key, 'steps'), 0) -- a wait may end after steps of higher numbers
  redis.call('HSET', job.key, 'steps', math.max(last, tonumber(value)))
elseif field == 'chunks' then
  append_chunks(job, tonumber(value))
else
  redis.call('HSET', job.key, 'progress', value)
  jobs.append_event('progress', job, #value <= DETAIL_MAX_BYTES and value or '')
  jobs.write_events()
end
return { 'ok' }
