-- replay: puts a dead letter back into the queue as a new job would be, with all its attempts.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id
-- Returns {'ok'} | {'unknown'} | {'not_dead', state} | {'retired'}
-- Events queued (detail: replayed).

--- include: pool
--- include: job
--- include: limits
--- include: lines
--- include: children
--- include: waits
--- include: groups
--- include: announce
--- include: replaying

local id = ARGV[1]
local job = load(id)
if not job then return { 'unknown' } end
if is_undecodable(job) then
  fail_undecodable(job)
  job.state = 'failed'
end
if job.state ~= 'failed' then return { 'not_dead', job.state } end
if redis.call('HGET', CONF, 'retired') == '1' then return { 'retired' } end
replay_job(job)
conclude()
return { 'ok' }
