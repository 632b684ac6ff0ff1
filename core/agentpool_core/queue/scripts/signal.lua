-- signal: stores a signal with its job, and resumes the job if it waits for this signal.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 name, 3 id of the signal, 4 value (JSON), 5 most signals of a job
-- Returns {'stored'} | {'duplicate'}: a signal of this id is stored | {'unknown'} | {'ended', state} | {'full'}
-- Events signalled (detail: the name), resumed.

--- include: pool
--- include: job
--- include: limits
--- include: lines
--- include: children
--- include: announce
--- include: waits

local id, name, signal, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local job = load(id)
if not job then return { 'unknown' } end
if is_undecodable(job) then
  fail_undecodable(job)
  conclude()
  return { 'ended', 'failed' }
end
local v = redis.call('HMGET', job.key, 'sigid:' .. signal, 'signals', 'wait')
if v[1] then return { 'duplicate' } end
if ENDS[job.state] then return { 'ended', job.state } end
if number_or(v[2], 0) >= tonumber(ARGV[5]) then return { 'full' } end
local number = redis.call('HINCRBY', job.key, 'sigs:' .. name, 1)
redis.call('HINCRBY', job.key, 'signals', 1)
redis.call('HSET', job.key, 'sig:' .. name .. '=' .. number, value, 'sigid:' .. signal, '1')
note_change(job, 'signalled')
append_event('signalled', job, name)
if job.state == 'waiting' and pause.is_signalled(job, v[3] or '') then pause.resume(job) end
conclude()
return { 'stored' }
