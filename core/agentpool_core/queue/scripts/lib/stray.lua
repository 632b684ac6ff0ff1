-- Unreachable jobs: the record names a place that does not hold the job, and no script would find the job again. Such a job
-- ends, because its caller would wait for ever. Needs lib/job.lua.

-- Whether an order, a set or the stream holds a job that has not ended.
local function is_reachable(job)
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
local function end_unreachable(job, field)
  if not job or ENDS[job.state] or (not job.broken and is_reachable(job)) then return end
  job.broken = job.broken or undecodable(field, job[field])
  fail_undecodable(job)
end

-- Deletes an entry that is not the place of its job.
local function drop_stray(job, stream, item)
  drop_entry(stream, item)
  end_unreachable(job, 'entry')
end
