-- A job's record, and the transitions that several scripts share: load, log, enqueue, finish.
--
-- core/agentpool_core/queue/keys.py lists the fields of job:ID, codec/layout.py the texts in them; a test compares them
-- with the names and patterns here. `mark` is set if the job has a field that `read_marks` reads.

--- include: groups
--- include: holding
--- include: tokens

local SPEC = '^(([^|]+)|([^|]+)|(%a+))|(%d*)|(%d*)|(%a*)$'
local LEASE = '^(%d+) (%d+) (%d+) (.*)$'
local LONGEST_WAIT_MS = 31622400000 -- 366 days, as in codec/requests.py
local DIGITS_MAX = 15 -- of a number in a record: exact in Lua and in Python
jobs.UNREADABLE = '~undecodable' -- kind of a job whose spec is unreadable
jobs.PRIORITIES = { critical = true, task = true, info = true }
jobs.STATES = { queued = true, running = true, scheduled = true, blocked = true, waiting = true }
jobs.ENDS = { succeeded = true, failed = true, cancelled = true, expired = true }
local SUSPECT_LOSSES = 2 -- losses after which a job runs alone
local UNEXPLAINED_MAX = 4 -- losses after which a job is poison although no loss was explained
local SEQUENCES_A_MS = 4096 -- entries of one millisecond that keep their order among suspects
local EVENTS_AN_ENTRY = 50 -- events in one entry of the event stream, and jobs in one entry of a stream of ended jobs

-- Returns token, attempt, claimed ms and worker; nil: no script writes such a lease.
function jobs.read_lease(text)
  if not text then return 0, 0, 0, '' end
  local token, attempt, claimed, worker = string.match(text, LEASE)
  if not token or math.max(#token, #attempt, #claimed) > DIGITS_MAX then return nil end
  return tonumber(token), tonumber(attempt), tonumber(claimed), worker
end

function jobs.is_entry(text)
  local ms, seq = string.match(text, '^(%d+)%-(%d+)$')
  return ms and math.max(#ms, #seq) <= DIGITS_MAX
end

-- Returns the digits of a number. Most tokens and attempts are the same few numbers, and Lua formats a number slowly.
local digits = {}
local function digits_of(number)
  local text = digits[number]
  if not text then
    text = number .. ''
    digits[number] = text
  end
  return text
end

function jobs.lease_text(job)
  return digits_of(job.token) .. ' ' .. digits_of(job.attempt) .. ' ' .. job.claimed .. ' ' .. job.worker
end

-- Parsed specs by their text: jobs of one kind share a spec.
local specs = {}

-- Returns the parsed spec; nil: no script writes such a spec.
function jobs.read_spec(text)
  if not text then return nil end
  local spec = specs[text]
  if spec then return spec end
  spec = {}
  local flags
  spec.label, spec.kind, spec.route, spec.priority, spec.max, spec.timeout, flags = string.match(text, SPEC)
  if not jobs.PRIORITIES[spec.priority or ''] or math.max(#spec.max, #spec.timeout) > DIGITS_MAX then return nil end
  spec.place = ':' .. spec.route .. ':' .. spec.priority
  spec.stream = PREFIX .. 's' .. spec.place
  spec.running = 'r:' .. spec.route
  spec.has_more = string.find(flags, '[^ukngm]') ~= nil -- its records may have fields that a lease contains
  spec.has = {}
  for flag in string.gmatch(flags, '%a') do spec.has[flag] = true end
  specs[text] = spec
  return spec
end

function jobs.unreadable_spec(place)
  local route, priority = string.match(place, '^:(.+):(%a+)$')
  return jobs.read_spec(jobs.UNREADABLE .. '|' .. route .. '|' .. priority .. '|||')
end

-- Returns a substitute for an unreadable spec, with the route and priority of the stream that holds the job's entry.
local function spec_of_place(job)
  for _, stream in ipairs(job.entry and streams() or {}) do
    local found = redis.pcall('XRANGE', stream, job.entry, job.entry)[1]
    if found and found[2][2] == job.id then return jobs.unreadable_spec(string.sub(stream, #PREFIX + 2)) end
  end
  job.entry = nil
  return jobs.unreadable_spec(':default:task')
end

-- Whether a job in this state has such an entry id, or none where none is allowed.
local function fits_entry(state, text)
  if not text then return state ~= 'queued' and state ~= 'running' end
  return jobs.is_entry(text)
end

function jobs.undecodable(field, text)
  return 'undecodable: ' .. field .. ' of the record is ' .. (text and "'" .. string.sub(text, 1, 200) .. "'" or 'missing')
end

-- Replaces unreadable fields, which allows the job to be ended. `broken` names the last such field and its value.
local function fill_unreadable_fields(job, v)
  if not fits_entry(job.state, v[3]) then job.entry, job.broken = nil, jobs.undecodable('entry', v[3]) end
  if not job.token then
    job.broken = jobs.undecodable('lease', v[4])
    job.token, job.attempt, job.claimed, job.worker = now, 0, 0, '' -- a token that no worker holds
  end
  if not job.spec then job.spec, job.broken = spec_of_place(job), jobs.undecodable('spec', v[2]) end
  if not jobs.STATES[job.state] and not jobs.ENDS[job.state] then job.broken = jobs.undecodable('state', v[1]) end
end

function jobs.read_marks(job)
  local marks = redis.call('HMGET', job.key, 'cancel', 'kids', 'watch', 'idem', 'losses', 'alone', 'held', 'opened', 'holds',
    'emits', 'started', 'hooks', 'debit')
  job.cancel, job.kids, job.watch, job.idem = marks[1], marks[2], marks[3], marks[4]
  job.losses, job.alone = number_or(marks[5], 0), marks[6]
  job.held, job.opened, job.holds = holding.read_bucket(marks[7]), holding.read_bucket(marks[8]), marks[9]
  job.emits, job.started, job.hooks, job.debit = marks[10], marks[11], marks[12], marks[13]
end

-- Returns the job; nil: unknown job. A key of a different type counts as unknown; the claim that reaches its entry makes
-- it a dead letter.
function jobs.load(id)
  local key = PREFIX .. 'job:' .. id
  local v = redis.pcall('HMGET', key, 'state', 'spec', 'entry', 'lease', 'mark')
  if v.err or not (v[1] or v[2]) then return nil end
  local token, attempt, claimed, worker = jobs.read_lease(v[4])
  local job = {
    id = id, key = key, state = v[1] or '', spec = jobs.read_spec(v[2]), entry = v[3],
    token = token, attempt = attempt, claimed = claimed, worker = worker, losses = 0,
  }
  if not (token and job.spec and (jobs.STATES[job.state] or jobs.ENDS[job.state]) and fits_entry(job.state, v[3])) then
    fill_unreadable_fields(job, v)
  end
  if v[5] then jobs.read_marks(job) end
  return job
end

-- Whether a job that has not ended has an unreadable record: end it with `fail_undecodable`.
function jobs.is_undecodable(job)
  return job.broken and not jobs.ENDS[job.state]
end

-- Returns the consumer that should hold the job's entry; nil: none.
function jobs.consumer_of(job)
  if job.state == 'running' then return job.worker end
  if job.state == 'scheduled' or job.state == 'waiting' then return PARKED end
  if job.state == 'queued' and job.held then return HELD end
  if job.state == 'queued' then return job.losses >= SUSPECT_LOSSES and SUSPECT or READY end
end

-- The time from which a job may run. A later time than any submit may ask for counts as missing: 0.
function jobs.due_of(job)
  local due = number_or(redis.call('HGET', job.key, 'due'), 0)
  return due - now <= LONGEST_WAIT_MS and due or 0
end

function jobs.idempotency_key(job)
  return PREFIX .. 'key:' .. string.match(job.idem, '^%S*')
end

function jobs.has_flag(job, flag)
  return job.spec.has[flag]
end

-- Appends a change to the job's own history, after earlier changes that are still missing there. A history that is too
-- long loses its middle; the first line, with the submit time, stays. `at`: ms of an earlier change; nil: now. Of
-- consecutive checkpoints the history keeps the last, from which a later attempt continues.
function jobs.note_change(job, change, at)
  local log = redis.call('HGET', job.key, 'log') or ''
  if log == '' and job.entry then log = 'queued ' .. string.match(job.entry, '^%d+') .. ' 0 \n' end
  if job.claimed and job.claimed > 0 and not string.find(log, 'started ' .. job.claimed .. ' ', 1, true) then
    log = log .. 'started ' .. job.claimed .. ' ' .. job.attempt .. ' ' .. job.worker .. '\n'
  end
  if change == 'checkpointed' then log = string.gsub(log, 'checkpointed [^\n]*\n$', '') end
  log = log .. change .. ' ' .. (at or now_text) .. ' ' .. job.attempt .. ' ' .. job.worker .. '\n'
  if #log > LOG_MAX_BYTES then
    local first_end = string.find(log, '\n', 1, true)
    local kept_from = string.find(log, '\n', #log - LOG_MAX_BYTES / 2, true)
    log = string.sub(log, 1, first_end) .. string.sub(log, kept_from + 1)
  end
  redis.call('HSET', job.key, 'log', log)
end

function jobs.save_state(job, state)
  redis.call('HSET', job.key, 'checkpoint', state)
  jobs.note_change(job, 'checkpointed')
end

-- Writes a message for each webhook of the job that asks for such changes.
local function call_hooks(change, job)
  for name, changes in string.gmatch(job.hooks, '(%S+)=(%S+)') do
    if string.find(',' .. changes .. ',', ',' .. change .. ',', 1, true) then
      redis.call('ZADD', PREFIX .. 'outbox', now, job.id .. ' ' .. name .. ' ' .. change .. ' ' .. now_text)
    end
  end
end

function jobs.append_event(change, job, detail)
  local events = collected.events
  local n = #events
  events[n + 1] = digits_of(n / 2 % EVENTS_AN_ENTRY)
  events[n + 2] = change .. ' ' .. job.id .. ' ' .. job.spec.label .. ' ' .. digits_of(job.attempt) .. ' ' .. job.worker .. ' ' .. (detail or '')
  if job.hooks then call_hooks(change, job) end
end

function jobs.write_events()
  local events = collected.events
  for first = 1, #events, 2 * EVENTS_AN_ENTRY do
    redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MAX, '*',
      unpack(events, first, math.min(first + 2 * EVENTS_AN_ENTRY - 1, #events)))
  end
  for state, ids in pairs(collected.ended) do
    for first = 1, #ids, EVENTS_AN_ENTRY do
      local last = math.min(first + EVENTS_AN_ENTRY - 1, #ids)
      redis.call('XADD', ENDED .. state, '*', 'jobs', table.concat(ids, ' ', first, last))
    end
  end
  collected.events, collected.ended = {}, {}
end

-- A stream and its group are created for the first job; a cursor among the counters shows that they exist.
local streams_known = {}

-- Returns the last entry that the stream's group has read; nil: the stream does not exist.
function jobs.cursor_of(stream)
  local found = redis.pcall('XINFO', 'GROUPS', stream)
  if found.err or not found[1] then return nil end
  return pairs_of(found[1])['last-delivered-id']
end

local function ensure_stream(stream, route, priority)
  if streams_known[stream] then return end
  streams_known[stream] = true
  local field = 'c:' .. route .. ':' .. priority
  if redis.call('HSETNX', COUNTERS, field, '0-0') == 0 then return end
  local cursor = jobs.cursor_of(stream) -- the stream exists if Redis has lost only the counters
  if cursor then
    redis.call('HSET', COUNTERS, field, cursor)
  else
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
end

local function note_ready(job)
  collected.ready_count = collected.ready_count + 1
  if job.spec.priority == 'critical' then collected.ready_critical[#collected.ready_critical + 1] = job.spec.route end
end

-- Appends an entry to the job's stream and returns its id. The caller writes state and entry.
function jobs.append_entry(job)
  ensure_stream(job.spec.stream, job.spec.route, job.spec.priority)
  job.entry = redis.call('XADD', job.spec.stream, '*', 'job', job.id)
  bump('q' .. job.spec.place, 1)
  bump('queued', 1)
  if jobs.has_flag(job, 'n') then
    collected.lined[job.spec.place] = (collected.lined[job.spec.place] or 0) + 1
    collected.tenants[job.entry] = job.tenant and redis.sha1hex(job.tenant)
  end
  note_ready(job)
  return job.entry
end

function jobs.suspect_score(entry)
  local ms, seq = id_parts(entry)
  return string.format('%.0f', ms * SEQUENCES_A_MS + math.min(seq, SEQUENCES_A_MS - 1))
end

-- Makes the job's entry ready again at its old place. The entry of a suspect waits in quarantine for a reserved worker.
function jobs.ready_again(job)
  local suspect = job.losses >= SUSPECT_LOSSES
  local holder = suspect and SUSPECT or READY
  -- Redis has lost the entry, or the spec names a wrong stream.
  if #redis.pcall('XCLAIM', job.spec.stream, GROUP, holder, 0, job.entry, 'JUSTID') == 0 then
    redis.call('HSET', job.key, 'entry', jobs.append_entry(job))
    return
  end
  bump('queued', 1)
  if suspect then
    redis.call('ZADD', SUSPECTS, jobs.suspect_score(job.entry), job.id)
    bump('u' .. job.spec.place, 1)
    bump('suspects', 1)
    collected.ready_count = collected.ready_count + 1
  else
    bump('y' .. job.spec.place, 1)
    note_ready(job)
  end
end

-- Returns how long (ms) a job that ended so is kept.
local retention = {}
local function keep_ms_of(state)
  if not retention[state] then
    local field = state == 'failed' and 'retention_dead_ms' or 'retention_results_ms'
    retention[state] = setting_or(redis.call('HGET', CONF, field), 86400000)
  end
  return retention[state]
end

function jobs.finish(job, state, field, text, detail)
  local keep_ms = keep_ms_of(state)
  redis.call('HSET', job.key, 'state', state, 'ended', now_text, field, text)
  redis.call('PEXPIRE', job.key, keep_ms)
  if state == 'failed' then
    redis.call('ZADD', DEAD, now, job.id)
  else
    local ids = collected.ended[state] or {}
    ids[#ids + 1] = job.id
    collected.ended[state] = ids
  end
  if job.idem then redis.call('PEXPIRE', jobs.idempotency_key(job), keep_ms) end
  if job.watch then
    for client in string.gmatch(job.watch, '%S+') do
      local inbox = PREFIX .. 'inbox:' .. client
      redis.call('RPUSH', inbox, job.id)
      redis.call('EXPIRE', inbox, LIST_TTL_SECONDS)
    end
    redis.call('HDEL', job.key, 'watch')
  end
  if job.emits then
    redis.call('XADD', PREFIX .. 'chunks:' .. job.id, '*', 'end', state)
    redis.call('PEXPIRE', PREFIX .. 'chunks:' .. job.id, keep_ms)
  end
  if job.started then
    redis.call('PEXPIRE', PREFIX .. 'started:' .. job.id, keep_ms)
    redis.call('PEXPIRE', PREFIX .. 'group:' .. job.id, keep_ms)
  end
  if job.started and state == 'cancelled' then groups.begin_stop(job, text) end
  if jobs.has_flag(job, 'g') then collected.group_ends[#collected.group_ends + 1] = { job.key, state, text } end
  bump('finished', 1)
  bump(state, 1)
  jobs.append_event(state, job, detail)
  if job.kids then collected.parents[#collected.parents + 1] = { job.id, state, text } end
end

local function leave_buckets(job)
  for bucket in string.gmatch(job.holds, '%S+') do
    redis.call('SREM', PREFIX .. 'using:' .. bucket, job.id)
    collected.freed[bucket] = true
  end
  redis.call('HDEL', job.key, 'holds')
end

-- Frees a running job's slot, also under the limits that count the job. `ended`: its attempt has ended; nil: the job is requeued.
function jobs.release_slot(job, ended)
  if job.holds then leave_buckets(job) end
  if job.debit then tokens.settle(job, ended) end
  bump('running', -1)
  bump(job.spec.running, -1)
  bump('run_ms', math.max(0, now - job.claimed))
  bump('attempts', 1)
  if jobs.has_flag(job, 'p') then redis.call('ZREM', YIELD, job.id) end
  if job.alone then
    redis.call('HDEL', COUNTERS, 'alone_job')
    redis.call('HDEL', job.key, 'alone')
  end
end

-- Makes a job with an unreadable record a dead letter. `stream`, `item`: the place of its entry, if known. Without its
-- entry, lib/recount.lua corrects the counters.
function jobs.fail_undecodable(job, stream, item)
  if stream then job.spec, job.entry = jobs.unreadable_spec(string.sub(stream, #PREFIX + 2)), item end
  if job.state == 'running' or (stream and not jobs.STATES[job.state]) then jobs.release_slot(job) end
  if job.entry and (job.held or job.state ~= 'queued') then drop_entry(job.spec.stream, job.entry) end
  holding.leave(job)
  redis.call('ZREM', DUE, job.id)
  redis.call('ZREM', TTL, job.id)
  redis.call('ZREM', WAITING, job.id)
  redis.call('SREM', BLOCKED, job.id)
  redis.call('HSET', job.key, 'reason', 'undecodable')
  jobs.finish(job, 'failed', 'error', job.broken, job.broken)
end

-- Returns since when (ms) and how often the attempt has been deferred, from a field with attempt, sinceMs and times.
function jobs.deferrals_of(job, field)
  local attempt, since, times = string.match(redis.call('HGET', job.key, field) or '', '^(%d+) (%d+) (%d+)$')
  if number_or(attempt, -1) ~= job.attempt then return now, 0 end -- the field is missing or concerns an earlier attempt
  return number_or(since, now), number_or(times, 0)
end

function jobs.write_deferrals(job, field, since, times)
  redis.call('HSET', job.key, field, job.attempt .. ' ' .. string.format('%.0f', since) .. ' ' .. times)
end

function jobs.max_attempts_of(job)
  return number_or(job.spec.max, nil) or setting_or(redis.call('HGET', CONF, 'max_attempts'), 5)
end

-- Requeues a running job at its old place. The attempt does not count; the token is used up.
function jobs.requeue(job, change, why, checkpoint)
  jobs.ready_again(job)
  if checkpoint ~= '' then jobs.save_state(job, checkpoint) end
  jobs.note_change(job, change)
  job.attempt = math.max(0, job.attempt - 1)
  redis.call('HSET', job.key, 'state', 'queued', 'lease', jobs.lease_text(job), 'reason', why)
  jobs.append_event(change, job, why)
  return 'returned'
end

local function fail_as_poison(job, error)
  drop_entry(job.spec.stream, job.entry)
  redis.call('HSET', job.key, 'reason', 'poison')
  jobs.finish(job, 'failed', 'error', 'poison: the job was running alone when its worker ended: ' .. error, 'poison: ' .. error)
  return 'dead'
end

-- Records the loss of the worker that ran the job; the job may be the cause. The attempt counts, except the last one,
-- because a different job may be the cause. `explained`: the error states how the worker ended; otherwise the node may
-- have failed.
function jobs.apply_loss(job, error, explained)
  job.losses = job.losses + 1
  redis.call('HSET', job.key, 'losses', job.losses, 'mark', '1')
  if job.alone and (explained or job.losses >= UNEXPLAINED_MAX) then return fail_as_poison(job, error) end
  jobs.ready_again(job)
  jobs.note_change(job, 'recovered')
  jobs.append_event('recovered', job, error)
  if job.losses >= SUSPECT_LOSSES then
    jobs.note_change(job, 'quarantined')
    jobs.append_event('quarantined', job, error)
  end
  job.attempt = math.min(job.attempt, jobs.max_attempts_of(job) - 1)
  redis.call('HSET', job.key, 'state', 'queued', 'error', error, 'lease', jobs.lease_text(job))
  return 'returned'
end
