-- A job's record and the moves that several scripts share: load, log, enqueue, finish, release children.
--
-- Fields of job:ID  state · spec kind|route|priority|maxAttempts|timeoutMs|flags · payload · entry · log
--   lease   token attempt claimedMs worker
--   only where needed: expires due waits after in:PARENT checkpoint progress result error reason cancel kids watch
--   idem digest trace
-- Flags  p preemptible · u runs though a parent failed · a has parents · t has a ttl

local SPEC = '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$'
local LEASE = '^(%d+) (%d+) (%d+) (.*)$'

local function read_lease(text)
  if not text then return 0, 0, 0, '' end
  local token, attempt, claimed, worker = string.match(text, LEASE)
  return tonumber(token), tonumber(attempt), tonumber(claimed), worker
end

local function lease_text(job)
  return job.token .. ' ' .. job.attempt .. ' ' .. job.claimed .. ' ' .. job.worker
end

local function load(id)
  local key = PREFIX .. 'job:' .. id
  local v = redis.call('HMGET', key, 'state', 'spec', 'entry', 'lease', 'log', 'cancel', 'kids', 'watch', 'idem')
  if not v[1] then return nil end
  local job = {
    id = id, key = key, state = v[1], entry = v[3], log = v[5], cancel = v[6], kids = v[7], watch = v[8], idem = v[9],
  }
  job.kind, job.route, job.priority, job.max, job.timeout, job.flags = string.match(v[2], SPEC)
  job.token, job.attempt, job.claimed, job.worker = read_lease(v[4])
  job.stream = stream_of(job.route, job.priority)
  return job
end

local function has_flag(job, flag)
  return string.find(job.flags, flag, 1, true) ~= nil
end

-- The job's own history, one line a change; the first line stays, so that the submit time is always known.
local function logged(job, change)
  local log = job.log .. change .. ' ' .. now .. ' ' .. job.attempt .. ' ' .. job.worker .. '\n'
  if #log > LOG_MAX_BYTES then
    local first_end = string.find(log, '\n', 1, true)
    local kept_from = string.find(log, '\n', #log - LOG_MAX_BYTES / 2, true)
    log = string.sub(log, 1, first_end) .. string.sub(log, kept_from + 1)
  end
  job.log = log
  return log
end

local function tell(change, job, detail)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, '*', 'type', change, 'job', job.id, 'kind', job.kind,
    'route', job.route, 'priority', job.priority, 'attempt', job.attempt, 'worker', job.worker,
    'detail', detail or '')
end

-- Streams and their group are made when the first job needs them; a cursor in the books says that they exist.
local streams_known = {}

local function ensure_stream(stream, route, priority)
  if streams_known[stream] then return end
  streams_known[stream] = true
  if redis.call('HSETNX', BOOKS, 'c:' .. route .. ':' .. priority, '0-0') == 1 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
end

-- Routes of the jobs that became ready in this script, for announce().
local ready_count = 0
local ready_critical = {}

local function note_ready(job)
  ready_count = ready_count + 1
  if job.priority == 'critical' then ready_critical[#ready_critical + 1] = job.route end
end

-- A new entry at the end of the job's stream. The caller writes state, entry and log.
local function append_entry(job)
  ensure_stream(job.stream, job.route, job.priority)
  job.entry = redis.call('XADD', job.stream, '*', 'job', job.id)
  bump('q:' .. job.route .. ':' .. job.priority, 1)
  bump('queued', 1)
  note_ready(job)
  return job.entry
end

-- The job's old entry competes again, at its old place.
local function ready_again(job)
  redis.call('XCLAIM', job.stream, GROUP, READY, 0, job.entry, 'JUSTID')
  bump('y:' .. job.route .. ':' .. job.priority, 1)
  bump('queued', 1)
  note_ready(job)
end

-- Jobs that ended in this script and have children: {id, state, result}.
local ended = {}
local retention

local function finish(job, state, field, text, detail)
  if not retention then
    retention = redis.call('HMGET', CONF, 'retention_results_ms', 'retention_dead_ms')
  end
  local keep_ms = number_or(state == 'failed' and retention[2] or retention[1], 86400000)
  redis.call('HSET', job.key, 'state', state, 'log', logged(job, state), field, text)
  redis.call('PEXPIRE', job.key, keep_ms)
  if state == 'failed' then redis.call('ZADD', DEAD, now, job.id) end
  if job.idem then redis.call('PEXPIRE', PREFIX .. 'key:' .. job.idem, keep_ms) end
  if job.watch then
    for client in string.gmatch(job.watch, '%S+') do
      local inbox = PREFIX .. 'inbox:' .. client
      redis.call('RPUSH', inbox, job.id)
      redis.call('EXPIRE', inbox, LIST_TTL_S)
    end
    redis.call('HDEL', job.key, 'watch')
  end
  bump('finished', 1)
  bump(state, 1)
  tell(state, job, detail)
  if job.kids then ended[#ended + 1] = { job.id, state, text } end
end

-- Takes a running job's slot back.
local function release_slot(job)
  bump('running', -1)
  bump('r:' .. job.route, -1)
  bump('run_ms', math.max(0, now - job.claimed))
  if has_flag(job, 'p') then redis.call('ZREM', YIELD, job.id) end
end

-- A job whose parents have ended becomes ready, or waits for its time.
local function unblock(job, due)
  redis.call('SREM', BLOCKED, job.id)
  if due and tonumber(due) > now then
    redis.call('ZADD', DUE, due, job.id)
    redis.call('HSET', job.key, 'state', 'scheduled', 'log', logged(job, 'scheduled'))
    tell('scheduled', job)
  else
    local entry = append_entry(job)
    redis.call('HSET', job.key, 'state', 'queued', 'entry', entry, 'log', logged(job, 'queued'))
    tell('queued', job)
  end
end

-- Each child of an ended job hears of it once: children:PARENT goes with it.
local function release_children()
  local next_ended = 1
  while ended[next_ended] do
    local parent, state, result = unpack(ended[next_ended])
    next_ended = next_ended + 1
    local children = PREFIX .. 'kids:' .. parent
    for _, id in ipairs(redis.call('SMEMBERS', children)) do
      local child = load(id)
      if child and child.state == 'blocked' then
        if state == 'succeeded' then redis.call('HSET', child.key, 'in:' .. parent, result) end
        if state == 'succeeded' or has_flag(child, 'u') then
          if redis.call('HINCRBY', child.key, 'waits', -1) == 0 then
            unblock(child, redis.call('HGET', child.key, 'due'))
          end
        else
          redis.call('SREM', BLOCKED, id)
          if has_flag(child, 't') then redis.call('ZREM', TTL, id) end
          finish(child, 'cancelled', 'reason', 'upstream', 'upstream ' .. parent)
        end
      end
    end
    redis.call('DEL', children)
  end
  ended = {}
end
