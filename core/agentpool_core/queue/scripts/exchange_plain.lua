-- exchange_plain: settles succeeded attempts of one place and claims the next jobs of that place. The short form of
-- exchange.lua, with few commands: the parts' functions cost the server more than many jobs.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 room after the settle, as in claim, 3 seed (unused), then five for each completion (lib/settle.lua)
-- Returns as exchange.lua | {'other'}: no job was changed, and exchange.lua must decide: a completion that has not
--        succeeded, a job with marks, special flags or of a different place, ready jobs of several places, ready jobs in lines
--        of tenants and outside, requeued jobs, tombstones, limits of the pool, jobs that take more than a slot, a route at its
--        limit, a paused route, a pause, a cordon, a reserved worker, a lost lease
-- Events succeeded, started.

--- include: turns

local EVENTS_MAX = 10000 -- as in lib/pool.lua
local EVENTS_AN_ENTRY = 50 -- as in lib/jobs.lua, like DIGITS_MAX and the patterns
local DIGITS_MAX = 15
local BYTES_MAX = 4194304 -- as in lib/claim.lua
local CALL_ARGS_MAX = 1000
local HEADER, VALUES_A_LEASE = 5, 6 -- of the reply
local OTHER = { 'other' }
local WHOLE = '^%-?%d+$' -- a whole number, as is_whole in lib/pool.lua
local SPEC = '^([^|]+|([^|]+)|(%a+))|%d*|%d*|(%a*)$'
local LEASE = '^(%d+) (%d+) (%d+) (.*)$'
local ENDS_SPECIALLY = '[^afkntux]' -- flags of jobs whose end or start concerns more than the job
local STARTS_SPECIALLY = '[^ukn]'
local find, match = string.find, string.match
local call = redis.call

local prefix = string.sub(KEYS[1], 1, -5)
local counters_key, events_key, record_prefix = prefix .. 'counters', prefix .. 'events', prefix .. 'job:'
local worker, limit = ARGV[1], tonumber(ARGV[2])
if not limit then return OTHER end -- the worker's jobs take more than slots

local function setting_or(text, default)
  return text and #text < 16 and find(text, WHOLE) and tonumber(text) or default
end

-- Returns a parsed spec: label, place, route, flags; nil: unreadable. Jobs of one kind share a spec.
local specs = {}
local function read_spec(text)
  if text and not specs[text] then
    local label, route, priority, flags = match(text, SPEC)
    specs[text] = label and { label = label, place = ':' .. route .. ':' .. priority, route = route, flags = flags }
  end
  return specs[text or '']
end

-- Returns a parsed lease of this worker: token, claimed ms, holder, the number of jobs that end, and the ends of their events by
-- spec; nil: a different lease. Jobs of one claim share a lease.
local leases = {}
local function read_lease(text)
  if text and not leases[text] then
    local token, attempt, claimed, holder = match(text, LEASE)
    if holder == worker and #claimed <= DIGITS_MAX then
      leases[text] = { token = token, claimed = tonumber(claimed), holder = ' ' .. attempt .. ' ' .. worker .. ' ', jobs = 0, tails = {} }
    end
  end
  return leases[text or '']
end

-- The attempts that end. Lists, with an element for each job, because a table for each job costs more than its commands.
local place, route
local ids, keys, results, gone, texts, is_ending = {}, {}, {}, {}, {}, {}
for i = 4, #ARGV, 5 do
  local id, n = ARGV[i], #ids + 1
  local key = record_prefix .. id
  if ARGV[i + 2] ~= 'succeeded' or is_ending[id] then return OTHER end -- named twice
  local v = redis.pcall('HMGET', key, 'state', 'spec', 'entry', 'lease', 'mark')
  if v[1] ~= 'running' or v[5] or not v[3] then return OTHER end
  local lease, spec = read_lease(v[4]), read_spec(v[2])
  if not lease or lease.token ~= ARGV[i + 1] then return OTHER end
  if not spec or find(spec.flags, ENDS_SPECIALLY) or spec.place ~= (place or spec.place) or not find(v[3], '^%d+%-%d+$') then return OTHER end
  place, route = spec.place, spec.route
  local tail = lease.tails[spec]
  if not tail then
    tail = ' ' .. spec.label .. lease.holder
    lease.tails[spec] = tail
  end
  lease.jobs = lease.jobs + 1
  ids[n], keys[n], results[n], gone[n], texts[n], is_ending[id] = id, key, ARGV[i + 3], v[3], 'succeeded ' .. id .. tail, true
end
if not place then return OTHER end
local ended = #ids
local c = call('HMGET', counters_key, 'queued', 'q' .. place, 'c' .. place, 'running', 'started', 'r:' .. route, 'finished',
  'succeeded', 'run_ms', 'attempts', 'clock_offset_ms', 'clock_ahead_ms', 'd' .. place, 't' .. place, 'x:' .. worker, 'alone',
  'p:' .. route, 'suspects', 'held', 'n' .. place, 'v' .. place)
for i = 1, 12 do
  if i ~= 3 and c[i] and not find(c[i], WHOLE) then return OTHER end -- exchange.lua resets an unreadable counter
end
local queued, cursor, kept = tonumber(c[1] or 0), c[3], c[13]
if not cursor or (kept and not find(kept, '^%d+%-%d+$')) then return OTHER end
if (c[14] or '0') ~= '0' or c[15] or c[16] or c[17] or (c[18] or '0') ~= '0' or (c[19] or '0') ~= '0' then return OTHER end
local lined = queued > 0 and c[20] == c[1] -- all ready jobs are in lines of tenants
if lined and c[21] and not find(c[21], '^%d+%.%d+$') then return OTHER end
if queued > 0 and not lined and c[2] ~= c[1] then return OTHER end -- of several places, or requeued

local conf = call('HMGET', KEYS[1], 'revision', 'paused', 'max_attempts', 'timeout_ms', 'limit:' .. route, 'limits',
  'retention_results_ms', 'cost:' .. route)
local expiry = call('ZSCORE', prefix .. 'workers', worker)
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000) + (c[11] or 0) -- only tests set an offset
local now = clock + (c[12] or 0)
local now_text = string.format('%.0f', now)
if not conf[1] or conf[2] == '1' or conf[8] or (conf[6] and conf[6] ~= '[]') or not expiry or tonumber(expiry) <= now then return OTHER end

-- The jobs that start.
local stream = prefix .. 's' .. place
local running = tonumber(c[6] or 0) - ended -- of the route
local room = setting_or(conf[5], math.huge) - running
local want = math.min(queued, limit, room, CALL_ARGS_MAX)
if queued > 0 and want <= 0 then return OTHER end -- the bell may have to ring, or a critical job waits for this route
local lease = '1 1 ' .. now_text .. ' ' .. worker
local reply = { 'ok', conf[1], clock, setting_or(conf[3], 5), setting_or(conf[4], 900000) }
local started, taken, bytes = {}, 0, 0 -- keys of records
local tails = {} -- ends of events, by spec

-- Reads the jobs of entries into the reply, up to its size. Returns the number of jobs that fit; nil: a job may not start.
local function read_jobs(entries)
  local n = #reply
  for i = 1, #entries do
    if bytes >= BYTES_MAX then return i - 1 end
    local entry, id = entries[i][1], entries[i][2][2]
    local key = record_prefix .. id
    local v = redis.pcall('HMGET', key, 'state', 'spec', 'entry', 'lease', 'mark', 'payload')
    if v[1] ~= 'queued' or v[3] ~= entry or v[4] or v[5] then return nil end
    local spec, payload = read_spec(v[2]), v[6]
    if not spec or spec.place ~= place or find(spec.flags, STARTS_SPECIALLY) then return nil end
    tails[spec] = tails[spec] or ' ' .. spec.label .. ' 1 ' .. worker .. ' '
    started[taken + i], texts[ended + taken + i] = key, 'started ' .. id .. tails[spec]
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5], reply[n + 6] = id, lease, entry, v[2], payload, ''
    n, bytes = n + 6, bytes + #(payload or '')
  end
  return #entries
end

-- Takes the entries from number `first` on away from the worker, as if the group had not delivered them.
local function undeliver(entries, first)
  local last, undelivered, read = first > 1 and entries[first - 1][1] or cursor, {}, nil
  for i = first, #entries do undelivered[#undelivered + 1] = entries[i][1] end
  call('XACK', stream, 'pool', unpack(undelivered))
  local group = call('XINFO', 'GROUPS', stream)[1]
  for i = 1, #group, 2 do
    if group[i] == 'entries-read' then read = group[i + 1] end -- Redis 7 computes the lag from this number
  end
  if read then
    call('XGROUP', 'SETID', stream, 'pool', last, 'ENTRIESREAD', read - #undelivered)
  else
    call('XGROUP', 'SETID', stream, 'pool', last)
  end
end

-- Takes the first jobs of the stream, unless a job may not start. Returns whether jobs were taken. If a hand has changed or
-- destroyed the group, delivered entries are requeued, and maintenance finds their places.
local function take_first()
  local head = call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', 1)[1]
  local read = head and redis.pcall('XREADGROUP', 'GROUP', 'pool', worker, 'COUNT', want, 'STREAMS', stream, '>')
  local entries = read and not read.err and read[1][2] or {}
  if not entries[1] or entries[1][1] ~= head[1] then
    for i = 1, #entries do call('XCLAIM', stream, 'pool', '~ready', 0, entries[i][1], 'JUSTID') end
    return false
  end
  local fit = read_jobs(entries)
  if fit ~= #entries then undeliver(entries, (fit or 0) + 1) end
  if not fit then return false end
  cursor, taken = entries[fit][1], fit
  return true
end

-- Returns entries to the lines of tenants; that of a job that runs, which a hand has moved to a line, to its worker.
local function return_entries(entries)
  for i = 1, #entries do
    local v = redis.pcall('HMGET', record_prefix .. entries[i][2][2], 'state', 'entry', 'lease')
    local _, _, _, holder = match(v[3] or '', LEASE)
    local is_running = v[1] == 'running' and v[2] == entries[i][1]
    call('XCLAIM', stream, 'pool', is_running and holder or '~lined', 0, entries[i][1], 'JUSTID')
  end
  for i = #reply, HEADER + VALUES_A_LEASE * taken + 1, -1 do reply[i] = nil end
end

-- Takes the jobs whose turn it is from the lines of tenants, until a job may not start. Returns whether jobs were taken.
local virtual = tonumber(c[21] or 0)
local function take_turns()
  local at = turns.at(prefix, place)
  repeat -- a line that is found empty loses its turn
    local next_turns = turns.next(at, want - taken)
    local waiting = turns.take(at, next_turns)
    local entries = waiting[1] and call('XCLAIM', stream, 'pool', worker, 0, unpack(waiting)) or {}
    if #entries ~= #waiting or read_jobs(entries) ~= #entries then
      return_entries(entries)
      turns.undo(at, next_turns)
      break
    end
    virtual, taken = turns.pass(at, next_turns, virtual), taken + #entries
  until taken == want or not next_turns.digests[1]
  return taken > 0
end

call('HDEL', counters_key, '-') -- a first write that takes no memory: jobs end although memory is full
if want > 0 and not (lined and take_turns or take_first)() then return OTHER end

local keep_ms = setting_or(conf[7], 86400000)
local outcomes = {}
for i = 1, ended do
  call('HSET', keys[i], 'state', 'succeeded', 'ended', now_text, 'result', results[i])
  call('PEXPIRE', keys[i], keep_ms)
  outcomes[i] = 'applied'
end
for i = 1, taken do call('HSET', started[i], 'state', 'running', 'lease', lease) end

-- Acknowledges and deletes the ended entries; keeps the last delivered entry as write_acks in lib/pool.lua does.
call('XACK', stream, 'pool', unpack(gone))
local last = kept == cursor and kept or nil
local deleted = { not last and kept or nil }
for _, entry in ipairs(gone) do
  if entry == cursor then last = entry else deleted[#deleted + 1] = entry end
end
if #deleted > 0 then call('XDEL', stream, unpack(deleted)) end
local oldest = last and call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if last and (not oldest or oldest[1] == last) then
  call('XDEL', stream, last)
  last = nil
end
if kept and kept ~= last then call('HDEL', counters_key, 'd' .. place) end
if last and kept ~= last then call('HSET', counters_key, 'd' .. place, last) end

local run_ms = tonumber(c[9] or 0)
for _, held in pairs(leases) do run_ms = run_ms + held.jobs * math.max(0, now - held.claimed) end
call('HSET', counters_key, 'c' .. place, cursor, 'queued', queued - taken, (lined and 'n' or 'q') .. place, (c[lined and 20 or 2] or 0) - taken,
  'running', (c[4] or 0) - ended + taken, 'started', (c[5] or 0) + taken, 'r:' .. route, running + taken,
  'finished', (c[7] or 0) + ended, 'succeeded', (c[8] or 0) + ended, 'attempts', (c[10] or 0) + ended,
  'run_ms', string.format('%.0f', run_ms))
if lined then call('HSET', counters_key, 'v' .. place, string.format('%.6f', virtual)) end
for first = 1, ended, EVENTS_AN_ENTRY do
  call('XADD', prefix .. 'ended:succeeded', '*', 'jobs', table.concat(ids, ' ', first, math.min(first + EVENTS_AN_ENTRY - 1, ended)))
end
-- Constants, because Lua formats numbers slowly.
local NUMBERS = {
  '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15', '16', '17', '18', '19', '20', '21', '22', '23', '24',
  '25', '26', '27', '28', '29', '30', '31', '32', '33', '34', '35', '36', '37', '38', '39', '40', '41', '42', '43', '44', '45', '46', '47',
  '48', '49',
}
for first = 1, ended + taken, EVENTS_AN_ENTRY do
  local event, n = {}, 0
  for i = first, math.min(first + EVENTS_AN_ENTRY - 1, ended + taken) do
    event[n + 1], event[n + 2] = NUMBERS[n / 2 + 1], texts[i]
    n = n + 2
  end
  call('XADD', events_key, 'MAXLEN', '~', EVENTS_MAX, '*', unpack(event))
end
if queued > taken and room > taken and call('LLEN', prefix .. 'bell') == 0 then call('RPUSH', prefix .. 'bell', '1') end
return { outcomes, reply }
