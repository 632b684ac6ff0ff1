-- Replays dead letters, for replay and apply.

--- include: jobs

-- Puts a dead letter back into the queue as a new job would be, with all its attempts.
function replaying.replay(job)
  redis.call('PERSIST', job.key)
  if job.idem then redis.call('PERSIST', jobs.idempotency_key(job)) end
  if job.emits then redis.call('PEXPIRE', PREFIX .. 'chunks:' .. job.id, 2678400000) end -- as in emit.lua
  if job.started then
    redis.call('PERSIST', PREFIX .. 'started:' .. job.id)
    redis.call('PERSIST', PREFIX .. 'group:' .. job.id)
    redis.call('HSET', job.key, 'started', '1')
  end
  redis.call('ZREM', DEAD, job.id)
  jobs.note_change(job, job.state, redis.call('HGET', job.key, 'ended'))
  job.attempt = 0
  job.claimed = 0
  job.worker = ''
  if redis.call('EXISTS', PREFIX .. 'kids:' .. job.id) == 0 then redis.call('HDEL', job.key, 'kids') end
  redis.call('HDEL', job.key, 'due', 'ended', 'putoff', 'unknown', 'losses', 'reason', 'cancel', 'expires')
  redis.call('HSET', job.key, 'state', 'queued', 'entry', jobs.append_entry(job), 'lease', jobs.lease_text(job))
  jobs.note_change(job, 'queued')
  jobs.append_event('queued', job, 'replayed')
end
