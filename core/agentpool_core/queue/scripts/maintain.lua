-- maintain: does the pool's maintenance for any worker: lost workers, due jobs, ended waits, expired jobs, old dead letters, audit, and
-- children that an earlier script did not release or cancel.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 'waiting': no jobs are recovered, because the caller cannot distinguish lost workers from live workers yet;
--        or none
-- Returns {recovered, promoted, expired, ms until the next due job or the end of a silent worker's lease (0: more is due, or
--        children are left to release) | -1: no work in sight, number of schedules that are due,
--        then kind and job id or counter of each contradiction that was resolved (lib/audit.lua)}
-- Events recovered, quarantined, queued, resumed, expired; failed or cancelled for jobs of lost workers; those of children.

--- include: pool
--- include: announce
--- include: audit
--- include: cancelling
--- include: children
--- include: clock
--- include: downstream
--- include: jobs
--- include: holding
--- include: pause
--- include: stray
--- include: waiting
--- include: workers

local BATCH = 200 -- due jobs, ended waits and expired jobs, each, in one script

write_though_memory_is_full()
clock.keep_time()
local recovers = ARGV[1] ~= 'waiting'
local duties = {} -- functions: a table, because Lua bounds the number of local variables

-- Audits a part of the pool if one is due. Returns kind and job id or counter of each contradiction that was resolved.
function duties.audit_in_turn()
  local every_ms, part = 15000, 300 -- of the whole pool; entries in one script
  local pause_ms = 250 -- between two duties, by any workers
  local resolved = {}
  if now < number_or(redis.call('HGET', COUNTERS, 'audit_at'), 0) then return resolved end
  local cursor = audit.check_part(redis.call('HGET', COUNTERS, 'audit') or '', part, true, function(kind, what)
    resolved[#resolved + 1] = kind
    resolved[#resolved + 1] = what
  end)
  local next_at = now + (cursor == '' and every_ms or pause_ms)
  redis.call('HSET', COUNTERS, 'audit', cursor, 'audit_at', string.format('%.0f', next_at))
  return resolved
end

function duties.recover_lost()
  local recovered = 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '-inf', now, 'LIMIT', 0, 10)) do
    local error = 'worker ' .. worker .. ' was lost: its lease expired, and the cause is unknown'
    if recovered < workers.RECOVER_MAX then recovered = recovered + workers.recover_jobs_of(worker, error, { explained = false }) end
  end
  return recovered
end

function duties.expire_waiting()
  local expired = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', TTL, '-inf', now, 'LIMIT', 0, BATCH)) do
    redis.call('ZREM', TTL, id)
    local job = jobs.load(id)
    if job and jobs.is_undecodable(job) then
      jobs.fail_undecodable(job)
    elseif job and (job.state == 'queued' or job.state == 'scheduled' or job.state == 'blocked') then
      waiting.end_job(job, 'expired', 'ttl')
      expired = expired + 1
    end
  end
  return expired
end

-- Makes scheduled jobs ready whose time has come, and resumes jobs at the end of a wait. Returns their number.
function duties.promote_due()
  local function promote(job)
    jobs.note_change(job, 'queued')
    if job.entry then jobs.ready_again(job) else jobs.append_entry(job) end
    redis.call('HSET', job.key, 'state', 'queued', 'entry', job.entry)
    redis.call('HDEL', job.key, 'due')
    jobs.append_event('queued', job)
  end
  local promoted = 0
  local function each(order, state, apply)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', now, 'LIMIT', 0, BATCH)) do
      redis.call('ZREM', order, id)
      local job = jobs.load(id)
      if not job or job.broken or job.state ~= state then
        stray.end_unreachable(job, 'state')
      else
        apply(job)
        promoted = promoted + 1
      end
    end
  end
  each(DUE, 'scheduled', promote)
  each(WAITING, 'waiting', pause.resume)
  return promoted
end

-- The time at which there is more to do; nil: nothing is in sight.
function duties.next_work(more)
  local soon_ms = 2000 -- workers renew earlier: such a lease most likely belongs to a lost worker
  local due = more and now or tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2])
  local wait_ends = number_or(redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES')[2], nil)
  if wait_ends then due = math.min(due or wait_ends, wait_ends) end
  local lease_ends = recovers and tonumber(redis.call('ZRANGE', WORKERS, 0, 0, 'WITHSCORES')[2])
  local opens = number_or(redis.call('ZRANGE', LIMITED, 0, 0, 'WITHSCORES')[2], nil)
  local fires = number_or(redis.call('ZRANGEBYSCORE', PREFIX .. 'schedules-due', '(' .. now_text, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2], nil)
  if fires then due = math.min(due or fires, fires) end
  if opens then due = math.min(due or opens, opens) end
  if lease_ends and lease_ends - now < soon_ms then return math.min(due or lease_ends, lease_ends) end
  return due
end

-- Forgets the ended jobs after the retention; streams keep whole nodes, so up to 100 entries stay longer.
function duties.trim_ended()
  local retention_ms = setting_or(redis.call('HGET', CONF, 'retention_results_ms'), 86400000)
  local oldest = string.format('%.0f', math.max(0, now - ahead - retention_ms))
  for state in pairs(jobs.ENDS) do
    if state ~= 'failed' then redis.call('XTRIM', ENDED .. state, 'MINID', '~', oldest) end
  end
end

local function maintain()
  local resolved = recovers and duties.audit_in_turn() or {}
  local recovered = recovers and duties.recover_lost() or 0
  local expired = duties.expire_waiting()
  local promoted = duties.promote_due()
  holding.open_due()
  redis.call('ZREMRANGEBYSCORE', LIMIT_TIMES, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', DEAD, '-inf', now - setting_or(redis.call('HGET', CONF, 'retention_dead_ms'), 604800000))
  duties.trim_ended()
  local more = cancelling.continue()
  more = children.continue() or more
  more = downstream.continue() or more
  announce.conclude()
  local next_at = duties.next_work(more or expired == BATCH)
  local schedules_due = redis.call('ZCOUNT', PREFIX .. 'schedules-due', '-inf', now)
  return { recovered, promoted, expired, next_at and math.max(0, math.ceil(next_at - now)) or -1, schedules_due, unpack(resolved, 1, 200) }
end

return maintain()
