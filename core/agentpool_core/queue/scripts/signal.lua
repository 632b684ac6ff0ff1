-- signal: stores a signal with its job, and resumes the job if it waits for this signal.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 name, 3 id of the signal, 4 value (JSON), 5 most signals of a job
-- Returns {'stored'} | {'duplicate'}: a signal of this id is stored | {'unknown'} | {'ended', state} | {'full'}
-- Events signalled (detail: the name), resumed.

--- include: pool
--- include: announce
--- include: jobs
--- include: pause

local id, name, signal, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local job = jobs.load(id)
if not job then return { 'unknown' } end
if jobs.is_undecodable(job) then
  jobs.fail_undecodable(job)
  announce.conclude()
  return { 'ended', 'failed' }
end
local v = redis.call('HMGET', job.key, 'sigid:' .. signal, 'signals', 'wait')
if v[1] then return { 'duplicate' } end
if jobs.ENDS[job.state] then return { 'ended', job.state } end
if number_or(v[2], 0) == tonumber(ARGV[5]) then return { 'full' } end
-- Returns a count of signals; 0 for a text that this script does not write.
local function count_of(text)
  local count = setting_or(text, 0)
  return count >= 0 and count <= tonumber(ARGV[5]) and count or 0
end

local number = count_of(redis.call('HGET', job.key, 'sigs:' .. name)) + 1
while redis.call('HEXISTS', job.key, 'sig:' .. name .. '=' .. number) == 1 do number = number + 1 end
redis.call('HSET', job.key, 'sigs:' .. name, number, 'signals', count_of(v[2]) + 1, 'sig:' .. name .. '=' .. number, value,
  'sigid:' .. signal, '1')
jobs.note_change(job, 'signalled')
jobs.append_event('signalled', job, name)
local wait = v[3] or ''
local readable = string.find(wait, '^%S+=%d+') -- an unreadable wait ends with any signal: its handler waits again
if job.state == 'waiting' and (not readable or pause.is_signalled(job, wait)) then pause.resume(job) end
announce.conclude()
return { 'stored' }
