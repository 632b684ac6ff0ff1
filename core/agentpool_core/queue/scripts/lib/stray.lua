-- Unreachable jobs: the record names a place that does not hold the job, and no script would find the job again. Such a job
-- ends, because its caller would wait for ever.

--- include: jobs

-- Whether an order, a set or the stream holds a job that has not ended.
function stray.is_reachable(job)
  if job.state == 'blocked' then return redis.call('SISMEMBER', BLOCKED, job.id) == 1 end
  if job.state == 'scheduled' and redis.call('ZSCORE', DUE, job.id) then return true end
  if job.state == 'waiting' and redis.call('ZSCORE', WAITING, job.id) then return true end
  if not job.entry then return false end
  local entry = redis.pcall('XRANGE', job.spec.stream, job.entry, job.entry)[1]
  if not entry or entry[2][2] ~= job.id then return false end
  if redis.pcall('XPENDING', job.spec.stream, GROUP, job.entry, job.entry, 1)[1] then return true end
  return id_after(job.entry, redis.call('HGET', COUNTERS, 'c' .. job.spec.place) or '0-0')
end

-- Ends a job that was found outside its place, unless the place in its record holds the job. `field`: the field that names
-- the place, state or entry.
function stray.end_unreachable(job, field)
  if not job or jobs.ENDS[job.state] or (not job.broken and stray.is_reachable(job)) then return end
  job.broken = job.broken or jobs.undecodable(field, job[field])
  jobs.fail_undecodable(job)
end

-- Deletes an entry that is not the place of its job.
function stray.drop(job, stream, item)
  drop_entry(stream, item)
  stray.end_unreachable(job, 'entry')
end
