-- replay: puts a dead letter back into the queue as a new job would be, with all its attempts.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id
-- Returns {'ok'} | {'unknown'} | {'not_dead', state} | {'retired'}
-- Events queued (detail: replayed).

--- include: pool
--- include: job
--- include: limits
--- include: children
--- include: announce

local id = ARGV[1]
local job = load(id)
if not job then return { 'unknown' } end
if is_undecodable(job) then
  fail_undecodable(job)
  job.state = 'failed'
end
if job.state ~= 'failed' then return { 'not_dead', job.state } end
if redis.call('HGET', CONF, 'retired') == '1' then return { 'retired' } end
redis.call('PERSIST', job.key)
if job.idem then redis.call('PERSIST', idempotency_key(job)) end
redis.call('ZREM', DEAD, id)
note_change(job, 'failed', redis.call('HGET', job.key, 'ended'))
job.attempt = 0
job.claimed = 0
job.worker = ''
if redis.call('EXISTS', PREFIX .. 'kids:' .. id) == 0 then redis.call('HDEL', job.key, 'kids') end
redis.call('HDEL', job.key, 'due', 'ended', 'putoff', 'unknown', 'losses', 'reason')
redis.call('HSET', job.key, 'state', 'queued', 'entry', append_entry(job), 'lease', lease_text(job))
note_change(job, 'queued')
append_event('queued', job, 'replayed')
conclude()
return { 'ok' }
