-- maintain: does the pool's maintenance for any worker: lost workers, due jobs, expired jobs, old dead letters, audit, and
-- children that an earlier script did not release.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 'waiting': no jobs are recovered, because the caller cannot distinguish lost workers from live workers yet;
--        or none
-- Returns {recovered, promoted, expired, ms until the next due job or the end of a silent worker's lease (0: children are
--        left to release) | -1: no work in sight,
--        then kind and job id or counter of each contradiction that was resolved (lib/audit.lua)}
-- Events recovered, quarantined, queued, expired; failed or cancelled for jobs of lost workers; those of children.

--- include: pool
--- include: clock
--- include: job
--- include: stray
--- include: children
--- include: announce
--- include: sweep
--- include: waiting
--- include: kinds
--- include: settle
--- include: workers
--- include: recount
--- include: audit

local BATCH = 500 -- due or expired jobs in one script
local AUDIT_EVERY_MS = 15000
local AUDIT_PART = 300 -- entries in one script
local AUDIT_PAUSE_MS = 250 -- between two parts, by any workers
local LEASE_ENDS_SOON_MS = 2000 -- workers renew earlier: such a lease most likely belongs to a lost worker

write_though_memory_is_full()
keep_time()

local function loss_text(worker)
  return 'worker ' .. worker .. ' was lost: its lease expired, and the cause is unknown'
end

local recovers = ARGV[1] ~= 'waiting'
local resolved = {}
if recovers and now >= number_or(redis.call('HGET', BOOKS, 'audit_at'), 0) then
  local cursor = audit_part(redis.call('HGET', BOOKS, 'audit') or '', AUDIT_PART, true, function(kind, what)
    resolved[#resolved + 1] = kind
    resolved[#resolved + 1] = what
  end)
  local pause = cursor == '' and AUDIT_EVERY_MS or AUDIT_PAUSE_MS
  redis.call('HSET', BOOKS, 'audit', cursor, 'audit_at', string.format('%.0f', now + pause))
end

local recovered = 0
for _, worker in ipairs(recovers and redis.call('ZRANGEBYSCORE', WORKERS, '-inf', now, 'LIMIT', 0, 10) or {}) do
  if recovered < RECOVER_MAX then
    recovered = recovered + recover_jobs_of(worker, loss_text(worker), { explained = false })
  end
end

local function promote(id)
  redis.call('ZREM', DUE, id)
  local job = load(id)
  if not job or job.broken or job.state ~= 'scheduled' then
    end_unreachable(job, 'state')
    return 0
  end
  note_change(job, 'queued')
  if job.entry then ready_again(job) else append_entry(job) end
  redis.call('HSET', job.key, 'state', 'queued', 'entry', job.entry)
  redis.call('HDEL', job.key, 'due')
  append_event('queued', job)
  return 1
end

local expired = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', TTL, '-inf', now, 'LIMIT', 0, BATCH)) do
  redis.call('ZREM', TTL, id)
  local job = load(id)
  if job and is_undecodable(job) then
    fail_undecodable(job)
  elseif job and (job.state == 'queued' or job.state == 'scheduled' or job.state == 'blocked') then
    end_waiting(job, 'expired', 'ttl')
    expired = expired + 1
  end
end

local promoted = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, BATCH)) do
  promoted = promoted + promote(id)
end

local dead_ms = setting_or(redis.call('HGET', CONF, 'retention_dead_ms'), 604800000)
redis.call('ZREMRANGEBYSCORE', DEAD, '-inf', now - dead_ms)

local more_children = continue_release()
conclude()
local next_due = more_children and now or tonumber(redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2])
local lease_ends = recovers and tonumber(redis.call('ZRANGE', WORKERS, 0, 0, 'WITHSCORES')[2])
if lease_ends and lease_ends - now < LEASE_ENDS_SOON_MS then next_due = math.min(next_due or lease_ends, lease_ends) end
return { recovered, promoted, expired, next_due and math.max(0, math.ceil(next_due - now)) or -1, unpack(resolved, 1, 200) }
