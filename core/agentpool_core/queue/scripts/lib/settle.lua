-- Ends attempts. A completion is five values: job id, token, verb, text, number.
--   succeeded   text: result (JSON)
--   failed      text: error     number: retry after ms, '' = the pool's backoff
--   dead        text: error     number: reason (one word), '' = none
--   cancelled   text: reason
--   drain, preempted   text: checkpoint (JSON), '' = keep the earlier checkpoint
--   waiting     text: awaited signals (lib/pause.lua)   number: longest wait in ms, '' = no limit
--   exhausted   text: as above   number: a space, how the worker ran out of memory
--   overloaded  text: as above   number: least wait in ms ('' = the pool's backoff), a space, the handler's message
--   unfit       text: as above   number: a space, the message of the worker that cannot run the job
--   unknown_kind   text: ''   number: a space, the message of the worker, which does not know the job's kind
-- Outcomes: applied, retrying, dead, returned, waiting, cancelled, stale (nothing was changed).

--- include: announce
--- include: jobs
--- include: kinds
--- include: limits
--- include: pause

local SETTLE_ARGS = 5

-- Outcome of a repeated completion: a caller that lost the reply repeats the call with the same token.
local REPEATED = {
  ['succeeded succeeded'] = 'applied', ['failed failed'] = 'dead', ['dead failed'] = 'dead',
  ['failed cancelled'] = 'cancelled', ['dead cancelled'] = 'cancelled', ['cancelled cancelled'] = 'cancelled',
  ['drain cancelled'] = 'cancelled', ['preempted cancelled'] = 'cancelled', ['failed scheduled'] = 'retrying',
  ['drain queued'] = 'returned', ['preempted queued'] = 'returned',
  ['waiting waiting'] = 'waiting', ['waiting cancelled'] = 'cancelled',
  ['exhausted queued'] = 'returned', ['exhausted cancelled'] = 'cancelled', ['exhausted failed'] = 'dead',
  ['unknown_kind scheduled'] = 'returned', ['unknown_kind cancelled'] = 'cancelled', ['unknown_kind failed'] = 'dead',
  ['overloaded scheduled'] = 'returned', ['overloaded cancelled'] = 'cancelled', ['overloaded failed'] = 'dead',
  ['unfit scheduled'] = 'returned', ['unfit cancelled'] = 'cancelled', ['unfit failed'] = 'dead',
}

-- Returns the outcome of a repeated completion that deferred or retried a job which is ready again. The job's history
-- shows that the completion, not the loss of its worker, made the job wait.
local function outcome_of_wait(job, verb)
  local change, attempt, outcome = 'returned', job.attempt + 1, 'returned'
  if verb == 'failed' then change, attempt, outcome = 'retrying', job.attempt, 'retrying' end
  if verb == 'waiting' then change, outcome = 'waiting', 'waiting' end
  for past, number, worker in string.gmatch(redis.call('HGET', job.key, 'log') or '', '(%S+) %d+ (%d+) ([^\n]*)\n') do
    if past == change and tonumber(number) == attempt and worker == job.worker then return outcome end
  end
  return 'stale'
end

local DEFERRING = { failed = true, waiting = true, overloaded = true, unfit = true, unknown_kind = true }

local ENDING = { succeeded = true, failed = true, dead = true, cancelled = true }

local function repeated(job, verb)
  if job.state == 'queued' and DEFERRING[verb] then return outcome_of_wait(job, verb) end
  return REPEATED[verb .. ' ' .. job.state] or 'stale'
end

-- Exponential backoff with jitter between half and all of it, which separates jobs that failed together.
local function backoff_ms(attempt)
  local v = redis.call('HMGET', CONF, 'retry_initial_ms', 'retry_max_ms')
  local full = math.min(setting_or(v[2], 300000), setting_or(v[1], 1000) * 2 ^ math.min(attempt - 1, 40))
  return math.floor(full * (0.5 + math.random() / 2))
end

local function retry_later(job, text, after)
  if job.alone then redis.call('HDEL', job.key, 'losses') end -- the job ran alone, and its worker survived
  local due = now + (number_or(after, nil) or backoff_ms(job.attempt))
  pause.park(job)
  redis.call('ZADD', DUE, due, job.id)
  redis.call('HSET', job.key, 'state', 'scheduled', 'due', due, 'error', text)
  jobs.note_change(job, 'retrying')
  jobs.append_event('retrying', job, text)
  return 'retrying'
end

-- Counts a deferral. An attempt may be deferred for as long as its timeout; a later deferral counts as its failure.
-- Returns the number of deferrals, and the error of that failure or nil.
local function count_deferral(job, why, reported)
  local since, times = jobs.deferrals_of(job, 'putoff')
  times = times + 1
  jobs.write_deferrals(job, 'putoff', since, times)
  local longest = number_or(job.spec.timeout, nil) or setting_or(redis.call('HGET', CONF, 'timeout_ms'), 900000)
  if now - since < longest then return times, nil end
  return times, why .. ': deferred ' .. times .. ' times, for longer than the ' .. longest / 1000
    .. ' s that the attempt may run; the ' .. (why == 'unfit' and 'worker' or 'handler') .. ' said: ' .. reported
end

-- Requeues the job for a later time. The attempt does not count.
local function defer(job, after, times, why)
  local due = now + (number_or(after, nil) or backoff_ms(times))
  pause.park(job)
  redis.call('ZADD', DUE, due, job.id)
  jobs.note_change(job, 'returned')
  job.attempt = math.max(0, job.attempt - 1)
  redis.call('HSET', job.key, 'state', 'scheduled', 'due', due, 'lease', jobs.lease_text(job), 'reason', why)
  jobs.append_event('returned', job, why)
  return 'returned'
end

-- Requeues a job whose worker ran out of memory. Counts as a loss; the first loss costs no attempt.
local function settle_exhausted(job, checkpoint, reported)
  if checkpoint ~= '' then jobs.save_state(job, checkpoint) end
  if job.losses == 0 then job.attempt = job.attempt - 1 end
  return jobs.apply_loss(job, reported, true)
end

-- Settles one attempt for `worker`. After Redis was restored to an earlier state, a different worker may hold the job under
-- the same token.
function settle.one(id, token, worker, verb, text, number)
  local job = jobs.load(id)
  if job and jobs.is_undecodable(job) then
    jobs.fail_undecodable(job)
    return 'dead'
  end
  if not job or job.token ~= tonumber(token) then return 'stale' end
  if job.worker ~= worker then return 'stale' end
  if job.state ~= 'running' then return repeated(job, verb) end
  jobs.release_slot(job, ENDING[verb])
  if verb == 'succeeded' then
    drop_entry(job.spec.stream, job.entry)
    jobs.finish(job, 'succeeded', 'result', text)
    return 'applied'
  end
  if verb == 'cancelled' or job.cancel then
    drop_entry(job.spec.stream, job.entry)
    jobs.finish(job, 'cancelled', 'reason', job.cancel or text, job.cancel or text)
    return 'cancelled'
  end
  if verb == 'drain' then return jobs.requeue(job, 'returned', verb, text) end
  if verb == 'waiting' then return pause.suspend(job, text, number) end
  if verb == 'preempted' then return jobs.requeue(job, 'preempted', verb, text) end
  if verb == 'exhausted' then return settle_exhausted(job, text, string.match(number, '^%d* (.*)$') or '') end
  if verb == 'unknown_kind' then
    local wait, error = kinds.wait_for(job)
    if wait then return defer(job, wait, 1, verb) end
    verb, text, number = 'dead', error, verb
  end
  if verb == 'overloaded' or verb == 'unfit' then
    if text ~= '' then jobs.save_state(job, text) end
    local after, reported = string.match(number, '^(%d*) ?(.*)$')
    if verb == 'overloaded' and after ~= '' then
      limits.pause(job, math.min(number_or(after, math.huge), limits.longest_pause()))
    end
    local times, overdue = count_deferral(job, verb, reported)
    if not overdue then return defer(job, after, times, verb) end
    verb, text, number = 'failed', overdue, after
  end
  if verb == 'failed' and job.attempt < jobs.max_attempts_of(job) then return retry_later(job, text, number) end
  if verb == 'dead' and number ~= '' then redis.call('HSET', job.key, 'reason', number) end
  drop_entry(job.spec.stream, job.entry)
  jobs.finish(job, 'failed', 'error', text, text)
  return 'dead'
end

-- Settles the completions ARGV[first..] of a worker and returns the outcomes.
function settle.all(worker, first)
  local outcomes = {}
  for i = first, #ARGV, SETTLE_ARGS do
    outcomes[#outcomes + 1] = settle.one(ARGV[i], ARGV[i + 1], worker, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  end
  announce.conclude()
  return outcomes
end
