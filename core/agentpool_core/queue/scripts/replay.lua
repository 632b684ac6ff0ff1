-- replay: puts a dead letter back into the queue as a new job would be, with all its attempts.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id
-- Returns {'ok'} | {'unknown'} | {'not_dead', state} | {'retired'}
-- Events queued (detail: replayed).

--- include: pool
--- include: announce
--- include: jobs
--- include: replaying

local id = ARGV[1]
local job = jobs.load(id)
if not job then return { 'unknown' } end
if jobs.is_undecodable(job) then
  jobs.fail_undecodable(job)
  job.state = 'failed'
end
if job.state ~= 'failed' then return { 'not_dead', job.state } end
if redis.call('HGET', CONF, 'retired') == '1' then return { 'retired' } end
replaying.replay(job)
announce.conclude()
return { 'ok' }
