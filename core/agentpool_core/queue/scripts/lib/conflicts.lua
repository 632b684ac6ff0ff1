-- Jobs whose idempotency key belongs to an earlier job that has not ended: `keep` the earlier one, `replace` it unless it has
-- started, or replace it and cancel it although it has started (`cancel_running`).

--- include: cancelling
--- include: jobs

-- Returns id and digest of the job that stands for a new job; nil: the new job is stored, and `replaces` the earlier one.
-- `fresh`: the earlier job is new in this call, too.
function conflicts.resolve(job, known, fresh)
  local earlier = jobs.load(known)
  local alive = fresh or (earlier and jobs.STATES[earlier.state])
  if alive and job.extras.conflict == 'keep' then return known, nil end
  if redis.call('EXISTS', PREFIX .. 'job:' .. job.id) == 1 then return job.id, nil end -- a repeated call
  job.replaces = known
  return nil
end

-- Takes the key from the earlier job, and cancels that job if it may be cancelled.
function conflicts.replace(job)
  local earlier = jobs.load(job.replaces)
  if not earlier or not jobs.STATES[earlier.state] then return end
  redis.call('HDEL', earlier.key, 'idem')
  earlier.idem = nil
  if earlier.token > 0 and job.extras.conflict ~= 'cancel_running' then return end
  cancelling.cancel(earlier, 'replaced by job ' .. job.id)
end
