-- Finds records, entries and sets that contradict each other, in a bounded part of the pool at each call. Scripts keep
-- them consistent, but Redis can lose single keys, and a worker can hold a job beyond its timeout.
--
-- Each contradiction is reported as found(kind, name) and, with `repairs`, resolved: the job continues, or ends with a
-- reason. Kinds: core/agentpool_core/queue/audit.py.

--- include: announce
--- include: children
--- include: jobs
--- include: holding
--- include: lines
--- include: recount
--- include: settle
--- include: stray
--- include: waiting

audit.leases = {} -- of workers (a cache), beside left, repairs, any and found of this call

-- Returns the end of the worker's lease (ms); false: the worker is not registered.
local function lease_of(worker)
  local ends = audit.leases[worker]
  if ends == nil then
    local score = redis.call('ZSCORE', WORKERS, worker)
    ends = score and tonumber(score)
    audit.leases[worker] = ends
  end
  return ends
end

local function overdue_ms(job)
  local TIMEOUT_GRACE_MS = 10000 -- in addition to a lease, for a worker to end and report an attempt that has timed out
  local v = redis.call('HMGET', CONF, 'timeout_ms', 'lease_ms')
  local allowed = number_or(job.spec.timeout, nil) or number_or(v[1], 900000)
  return now - job.claimed - allowed - number_or(v[2], 10000) - TIMEOUT_GRACE_MS, allowed
end

local function check_running(job)
  local lease_ends = lease_of(job.worker)
  if not lease_ends then
    audit.found('worker_gone', job.id)
    if audit.repairs then settle.one(job.id, job.token, job.worker, 'drain', '', '') end
    return
  end
  local late, allowed = overdue_ms(job)
  if late <= 0 or lease_ends <= now then return end -- maintenance recovers the jobs of a lost worker
  audit.found('overdue', job.id)
  if not audit.repairs then return end
  local error = 'timeout: the attempt ran longer than ' .. allowed / 1000 .. ' s, and its worker did not end it'
  settle.one(job.id, job.token, job.worker, 'failed', error, '')
end

local function check_order(job, order, score)
  if redis.call('ZSCORE', order, job.id) then return end
  audit.found('order_lost', job.id)
  if audit.repairs then redis.call('ZADD', order, score, job.id) end
end

-- Finds a running job that a limit does not count.
local function check_holds(job)
  for bucket in string.gmatch(job.holds or '', '%S+') do
    if redis.call('SISMEMBER', PREFIX .. 'using:' .. bucket, job.id) == 0 then
      audit.found('miscounted', job.id)
      if audit.repairs then redis.call('SADD', PREFIX .. 'using:' .. bucket, job.id) end
    end
  end
end

local function check_entry(stream, item, consumer)
  local entry = redis.call('XRANGE', stream, item, item)[1]
  local job = entry and jobs.load(entry[2][2])
  local expected = job and jobs.consumer_of(job)
  if job and job.entry == item and jobs.STATES[job.state] and not expected then
    job.broken = job.broken or jobs.undecodable('state', job.state)
  end
  if job and jobs.is_undecodable(job) then
    audit.found('unreadable', job.id)
    if audit.repairs then jobs.fail_undecodable(job, stream, item) end
  elseif not job or job.entry ~= item or jobs.ENDS[job.state] then
    audit.found('job_gone', entry and entry[2][2] or item)
    if audit.repairs then stray.drop(job, stream, item) end
  elseif consumer == LINED and expected == READY then
    if not lines.check(job, audit.repairs) then audit.found('order_lost', job.id) end
  elseif expected ~= consumer then
    audit.found('misplaced', job.id)
    if audit.repairs then redis.call('XCLAIM', stream, GROUP, expected, 0, item, 'JUSTID') end
  elseif job.state == 'running' then
    check_holds(job)
    check_running(job)
  elseif job.state == 'scheduled' then
    check_order(job, DUE, jobs.due_of(job))
  elseif job.state == 'waiting' then
    check_order(job, WAITING, redis.call('HGET', job.key, 'due') or '+inf')
  elseif consumer == SUSPECT then
    check_order(job, SUSPECTS, jobs.suspect_score(job.entry))
  elseif consumer == HELD then
    check_order(job, PREFIX .. 'held:' .. job.held, holding.order_of(job))
    if audit.repairs then collected.freed[job.held] = true end -- it may have room
  end
end

-- Returns the job id of an entry, or the entry's own id if the entry has no job.
local function job_of(stream, item)
  local entry = redis.call('XRANGE', stream, item, item)[1]
  return entry and entry[2][2] or item
end

-- Checks the pending entries of a place from `from` on. Returns the next entry, or nil.
local function check_pending(place, from)
  local stream = PREFIX .. 's:' .. place
  local page = redis.pcall('XPENDING', stream, GROUP, from, '+', audit.left)
  if page.err then return nil end
  for _, item in ipairs(page) do
    local read = pcall(check_entry, stream, item[1], item[2])
    if not read then audit.found('unreadable', job_of(stream, item[1])) end -- no script writes such a record
  end
  audit.left = audit.left - #page
  return audit.left <= 0 and '(' .. page[#page][1] or nil
end

-- Whether the parent has ended, but has not released this child yet.
local function is_releasing(parent, child)
  return redis.call('SISMEMBER', RELEASING, parent) == 1
    and redis.call('SISMEMBER', PREFIX .. 'kids:' .. parent, child) == 1
end

-- Whether the parent's end has released this child. A parent that was replayed since then does not count again.
local function has_released(parent, child)
  return redis.call('HEXISTS', child, 'in:' .. parent) == 1 or redis.call('HEXISTS', child, 'end:' .. parent) == 1
end

-- Counts again: returns the number of parents that a blocked job waits for, and the id of a parent that cannot succeed.
local function waits_of(job)
  local waits, hopeless, seen = 0, nil, {}
  for parent in string.gmatch(redis.call('HGET', job.key, 'after') or '', '%S+') do
    if not seen[parent] and not has_released(parent, job.key) then
      local key = PREFIX .. 'job:' .. parent
      local v = redis.pcall('HMGET', key, 'state', 'result')
      if is_releasing(parent, job.id) then
        waits = waits + 1
      elseif v[1] == 'succeeded' and v[2] then
        if audit.repairs then redis.call('HSET', job.key, 'in:' .. parent, v[2]) end
      elseif not v[1] or jobs.ENDS[v[1]] then
        if not jobs.has_flag(job, 'u') then hopeless = hopeless or parent end
        if audit.repairs then redis.call('SREM', PREFIX .. 'kids:' .. parent, job.id) end
      else
        waits = waits + 1
        if audit.repairs then
          redis.call('SADD', PREFIX .. 'kids:' .. parent, job.id)
          redis.call('HSET', key, 'kids', '1', 'mark', '1')
        end
      end
    end
    seen[parent] = true
  end
  return waits, hopeless
end

local function check_blocked(id)
  local job = jobs.load(id)
  if not job or job.broken or job.state ~= 'blocked' then
    audit.found(job and jobs.is_undecodable(job) and 'unreadable' or 'member_gone', id)
    if audit.repairs then
      redis.call('SREM', BLOCKED, id)
      stray.end_unreachable(job, 'state')
    end
    return
  end
  local waits, hopeless = waits_of(job)
  if waits == number_or(redis.call('HGET', job.key, 'waits'), 0) and not hopeless then return end
  audit.found('parent_gone', id)
  if not audit.repairs then return end
  if hopeless then
    waiting.leave_blocked(job)
    if jobs.has_flag(job, 't') then redis.call('ZREM', TTL, id) end
    local reason = 'upstream: job ' .. hopeless .. ' ended without a result, or is gone'
    jobs.finish(job, 'cancelled', 'reason', reason, reason)
  else
    redis.call('HSET', job.key, 'waits', waits)
    if waits == 0 then children.unblock(job) end
  end
end

local function check_members(cursor)
  local reply = redis.call('SSCAN', BLOCKED, cursor, 'COUNT', audit.left)
  for _, id in ipairs(reply[2]) do check_blocked(id) end
  audit.left = audit.left - #reply[2]
  return reply[1] ~= '0' and reply[1] or nil
end

-- Finds dead letters and scheduled jobs whose record is missing or has a different state, from a rank on.
local function check_ranks(order, state, from)
  local ids = redis.call('ZRANGE', order, from, from + audit.left - 1)
  local kept = 0
  for _, id in ipairs(ids) do
    if redis.pcall('HGET', PREFIX .. 'job:' .. id, 'state') == state then
      kept = kept + 1
    else
      audit.found('member_gone', id)
      if audit.repairs then
        redis.call('ZREM', order, id)
        stray.end_unreachable(jobs.load(id), 'state')
      else
        kept = kept + 1
      end
    end
  end
  audit.left = audit.left - #ids
  return audit.left <= 0 and from + kept or nil
end

-- Finds jobs that a bucket counts although they do not run, or did not start after it let them go on.
local function check_bucket(bucket)
  local key = PREFIX .. 'using:' .. bucket
  local members = redis.call('SCARD', key) <= 1000 and redis.call('SMEMBERS', key) or redis.call('SRANDMEMBER', key, 1000)
  for _, id in ipairs(members) do
    local v = redis.pcall('HMGET', PREFIX .. 'job:' .. id, 'state', 'holds')
    if v[1] ~= 'running' or not string.find(' ' .. (v[2] or '') .. ' ', ' ' .. bucket .. ' ', 1, true) then
      audit.found('miscounted', id)
      if audit.repairs then redis.call('SREM', key, id) end
    end
  end
  local held = PREFIX .. 'held:' .. bucket
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', '(0', 'LIMIT', 0, 1000)) do
    local v = redis.pcall('HMGET', PREFIX .. 'job:' .. id, 'state', 'opened')
    if v[1] ~= 'queued' or v[2] ~= bucket then
      audit.found('miscounted', id)
      if audit.repairs then redis.call('ZREM', held, id) end
    end
  end
  if audit.repairs then
    holding.forget_shut(bucket)
    collected.freed[bucket] = true
  end
end

local function check_limited(from)
  local buckets = redis.call('ZRANGE', LIMITED, from, from + audit.left - 1)
  for _, bucket in ipairs(buckets) do check_bucket(bucket) end
  audit.left = audit.left - #buckets
  return audit.left <= 0 and from + #buckets or nil
end

-- Returns the ordered parts of a pool: {name, check(from) -> next or nil, first `from`}.
local function parts()
  local found = {}
  for _, stream in ipairs(streams()) do
    local place = string.sub(stream, #PREFIX + 3)
    found[#found + 1] = { 's:' .. place, function(from) return check_pending(place, from) end, '-' }
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  found[#found + 1] = { 'blocked', check_members, '0' }
  found[#found + 1] = { 'dead', function(from) return check_ranks(DEAD, 'failed', tonumber(from)) end, '0' }
  found[#found + 1] = { 'limited', function(from) return check_limited(tonumber(from)) end, '0' }
  found[#found + 1] = { 'due', function(from) return check_ranks(DUE, 'scheduled', tonumber(from)) end, '0' }
  found[#found + 1] = { 'waiting', function(from) return check_ranks(WAITING, 'waiting', tonumber(from)) end, '0' }
  return found
end

-- Audits a part of the pool: about `budget` entries from `cursor` on ('': from the beginning, with the counters). Returns
-- the next cursor; '': the audit is complete.
function audit.check_part(cursor, budget, repairs, found)
  audit.left, audit.repairs, audit.any = budget, repairs, false
  audit.found = function(kind, what)
    audit.any = true
    found(kind, what)
  end
  if cursor == '' then
    local function wrong(field) found('counter', field) end
    if repairs then recount.correct(wrong) else recount.compare(wrong) end
  end
  local at, from = string.match(cursor, '^(%S+) (.+)$')
  local next_cursor = ''
  for _, part in ipairs(parts()) do
    if not at or at == part[1] then
      local rest = at and from or part[3]
      at = nil
      if audit.left > 0 then rest = part[2](rest) end
      if rest then
        next_cursor = part[1] .. ' ' .. rest
        break
      end
    end
  end
  if repairs and (audit.any or next(collected.freed)) then
    announce.conclude()
    recount.correct()
  end
  return next_cursor
end
