-- watch: adds a client to those whose inbox receives the job's id when the job ends.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 client
-- Returns {'waiting'} | {'ended', state, result or '', error or '', reason or ''} | {'unknown'}
-- Events none.

--- include: pool

local id, client = ARGV[1], ARGV[2]
local key = PREFIX .. 'job:' .. id
local v = redis.pcall('HMGET', key, 'state', 'result', 'error', 'reason', 'watch')
local state = v[1]
if not state then return { 'unknown' } end
if state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'expired' then
  return { 'ended', state, v[2] or '', v[3] or '', v[4] or '' }
end
local watch = ' ' .. (v[5] or '') .. ' '
if not string.find(watch, ' ' .. client .. ' ', 1, true) then
  redis.call('HSET', key, 'watch', v[5] and v[5] .. ' ' .. client or client, 'mark', '1')
end
return { 'waiting' }
