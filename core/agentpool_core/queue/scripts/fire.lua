-- fire: submits the job of a schedule's due time and moves the schedule to its next due time; exactly once for each due
-- time, because a schedule that stands elsewhere is left alone.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 name, 2 due time (ms) at which the schedule must stand, 3 next due time (ms; '': none), 4 due time (ms) of the
--        job, 5 overlap: Allow, Skip, Cancel; 6.. the job, as for submit; none: no job, the due time was missed
-- Returns {outcome}: submitted, missed, overlap (an earlier job has not ended), stale (a different caller was faster);
--        unknown_kind (no job; the schedule moves); full, retired, unknown_pool (the due time stays)
-- Events those of submit and cancel.

--- include: pool
--- include: announce
--- include: cancelling
--- include: jobs
--- include: schedules
--- include: submitting

local STAYS = { full = true, retired = true, unknown_pool = true }

-- Returns the job of an earlier due time if it has not ended.
local function unended_job(id)
  local job = id ~= '' and jobs.load(id)
  return job and jobs.STATES[job.state] and job or nil
end

-- Returns the outcome, and the id of the job or nil.
local function submit_due(overlap, earlier)
  if not ARGV[6] then return 'missed' end
  if overlap == 'Skip' and earlier then return 'overlap' end
  local reply = submitting.submit(6)
  if reply[1] == 'conflict' then return 'submitted', reply[3] end
  if reply[1] ~= 'ok' then return reply[1] end
  return 'submitted', string.match(reply[3], '^=(%S+)') or ARGV[6]
end

local function fire(name, expected, next_due, due, overlap)
  if redis.call('ZSCORE', schedules.due, name) ~= expected then return { 'stale' } end
  local last_id = string.match(redis.call('HGET', schedules.last, name) or '', '^%S+ %S+ (.*)$') or ''
  local earlier = unended_job(last_id)
  local outcome, id = submit_due(overlap, earlier)
  if STAYS[outcome] then return { outcome } end
  if next_due == '' then redis.call('ZREM', schedules.due, name) else redis.call('ZADD', schedules.due, next_due, name) end
  redis.call('HSET', schedules.last, name, due .. ' ' .. outcome .. ' ' .. (id or last_id))
  if id and overlap == 'Cancel' and earlier and earlier.id ~= id then
    cancelling.cancel(jobs.load(earlier.id), 'schedule ' .. name .. ' is due again')
    announce.conclude()
  end
  return { outcome }
end

return fire(unpack(ARGV, 1, 5))
