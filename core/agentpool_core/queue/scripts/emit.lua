-- emit: appends chunks to the output of running jobs of one worker. Without parts: their functions cost the server more
-- than a chunk.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, then for each job: id, token, number of its first chunk, number of chunks, each chunk (JSON)
-- Returns for each job 'ok' | 'stale': the lease is no longer current; nothing was stored | 'failed': the key of its
--        output holds a different type
-- Events none.

local CHUNKS_MAX = 10000 -- approximate number of chunks kept of a job, as in chunks.py
local CHUNKS_TTL_S = 2678400 -- 31 days after the last chunk
local LEASE = '^(%d+) (%d+) %d+ (.*)$' -- token, attempt, worker; as in lib/job.lua

local PREFIX = string.sub(KEYS[1], 1, -5)
local worker = ARGV[1]

-- Appends the chunks that are not stored yet: a caller that lost the reply repeats the call.
local function append(id, token, first, from, to)
  local key = PREFIX .. 'job:' .. id
  local v = redis.pcall('HMGET', key, 'state', 'lease', 'emits')
  if v[1] ~= 'running' then return 'stale' end
  local current, attempt, holder = string.match(v[2] or '', LEASE)
  if current ~= token or holder ~= worker then return 'stale' end
  local run, last = string.match(v[3] or '', '^(%d+) (%d+)$')
  last = run == token and tonumber(last) or 0
  local stream = PREFIX .. 'chunks:' .. id
  local number = first
  for i = from, to do
    if number > last then
      local added = redis.pcall('XADD', stream, 'MAXLEN', '~', CHUNKS_MAX, '*', 'at', token .. ' ' .. attempt .. ' ' .. number,
        'data', ARGV[i])
      if added.err then return 'failed' end
      last = number
    end
    number = number + 1
  end
  redis.call('HSET', key, 'emits', token .. ' ' .. last, 'mark', '1')
  redis.call('EXPIRE', stream, CHUNKS_TTL_S)
  return 'ok'
end

local outcomes, at = {}, 2
while at <= #ARGV do
  local from = at + 4
  local to = from + tonumber(ARGV[at + 3]) - 1
  outcomes[#outcomes + 1] = append(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), from, to)
  at = to + 1
end
return outcomes
