-- Jobs that nothing leads to: the record names a place where the job is not, so no script would come upon it again. Such a
-- job ends, because its caller would wait for ever. Needs lib/job.lua.

-- Whether an order, a set or the stream leads to a job that has not ended.
local function is_reachable(job)
  if job.state == 'blocked' then return redis.call('SISMEMBER', BLOCKED, job.id) == 1 end
  if job.state == 'scheduled' and redis.call('ZSCORE', DUE, job.id) then return true end
  if not job.entry then return false end
  local entry = redis.pcall('XRANGE', job.spec.stream, job.entry, job.entry)[1]
  if not entry or entry[2][2] ~= job.id then return false end
  if redis.pcall('XPENDING', job.spec.stream, GROUP, job.entry, job.entry, 1)[1] then return true end
  return id_after(job.entry, redis.call('HGET', BOOKS, 'c' .. job.spec.place) or '0-0')
end

-- Ends a job that was met outside of its place, unless it is where its record says. `field` is the one that names the place:
-- state or entry.
local function end_unreachable(job, field)
  if not job or ENDS[job.state] or (not job.broken and is_reachable(job)) then return end
  job.broken = job.broken or undecodable(field, job[field])
  fail_undecodable(job)
end

-- Drops an entry that is not its job's place.
local function drop_stray(job, stream, item)
  drop_entry(stream, item)
  end_unreachable(job, 'entry')
end
