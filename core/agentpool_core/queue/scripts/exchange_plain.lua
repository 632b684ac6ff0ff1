-- exchange_plain: settles succeeded attempts of one place and claims the next jobs of that place. The short form of
-- exchange.lua, with few commands and without parts: the parts' functions cost the server more than many jobs.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 room after the settle, as in claim, 3 seed (unused), then five for each completion (lib/settle.lua)
-- Returns as exchange.lua | {'other'}: no job was changed, and exchange.lua must decide: a completion that has not
--        succeeded, a job with marks, special flags or of a different place, ready jobs of several places, requeued jobs,
--        tombstones, limits of the pool, jobs that take more than a slot, a route at its limit, a paused route, a pause, a cordon, a reserved worker, a lost
--        lease
-- Events succeeded, started.

local EVENTS_MAX = 10000 -- as in lib/pool.lua
local EVENTS_AN_ENTRY = 50 -- as in lib/jobs.lua, like DIGITS_MAX and the patterns
local DIGITS_MAX = 15
local BYTES_MAX = 4194304 -- as in lib/claim.lua
local CALL_ARGS_MAX = 1000
local OTHER = { 'other' }
local WHOLE = '^%-?%d+$' -- a whole number, as is_whole in lib/pool.lua
local SPEC = '^([^|]+|([^|]+)|(%a+))|%d*|%d*|(%a*)$'
local ENDS_SPECIALLY = '[^afkntux]' -- flags of jobs whose end or start concerns more than the job
local STARTS_SPECIALLY = '[^uk]'
local find, match = string.find, string.match
local call = redis.call

local prefix = string.sub(KEYS[1], 1, -5)
local counters_key, events_key = prefix .. 'counters', prefix .. 'events'
local worker, limit = ARGV[1], tonumber(ARGV[2])
if not limit then return OTHER end -- the worker's jobs take more than slots

local function setting_or(text, default)
  return text and #text < 16 and find(text, WHOLE) and tonumber(text) or default
end

-- Returns the record of a job: state, spec, entry, lease, mark, payload.
local function record_of(id)
  return redis.pcall('HMGET', prefix .. 'job:' .. id, 'state', 'spec', 'entry', 'lease', 'mark', 'payload')
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

-- The attempts that end.
local place, route
local ended, gone, claimed_at = {}, {}, {}
for i = 4, #ARGV, 5 do
  if ARGV[i + 2] ~= 'succeeded' then return OTHER end
  local v = record_of(ARGV[i])
  if v[1] ~= 'running' or v[5] or not v[3] or not v[4] then return OTHER end
  local token, attempt, claimed, holder = match(v[4], '^(%d+) (%d+) (%d+) (.*)$')
  local spec = read_spec(v[2])
  if token ~= ARGV[i + 1] or holder ~= worker or #claimed > DIGITS_MAX then return OTHER end
  if not spec or find(spec.flags, ENDS_SPECIALLY) or spec.place ~= (place or spec.place) or not find(v[3], '^%d+%-%d+$') then return OTHER end
  if ended[ARGV[i]] then return OTHER end -- named twice
  place, route = spec.place, spec.route
  ended[ARGV[i]] = true
  ended[#ended + 1] = { ARGV[i], spec.label .. ' ' .. attempt .. ' ' .. worker, ARGV[i + 3] }
  gone[#gone + 1], claimed_at[#claimed_at + 1] = v[3], tonumber(claimed)
end
if not place then return OTHER end
local c = call('HMGET', counters_key, 'queued', 'q' .. place, 'c' .. place, 'running', 'started', 'r:' .. route, 'finished',
  'succeeded', 'run_ms', 'attempts', 'clock_offset_ms', 'clock_ahead_ms', 'd' .. place, 't' .. place, 'x:' .. worker, 'alone',
  'p:' .. route, 'suspects', 'held')
for i = 1, 12 do
  if i ~= 3 and c[i] and not find(c[i], WHOLE) then return OTHER end -- exchange.lua resets an unreadable counter
end
local queued, cursor, kept = tonumber(c[1] or 0), c[3], c[13]
if not cursor or (kept and not find(kept, '^%d+%-%d+$')) then return OTHER end
if (c[14] or '0') ~= '0' or c[15] or c[16] or c[17] or (c[18] or '0') ~= '0' or (c[19] or '0') ~= '0' then return OTHER end
if queued > 0 and c[2] ~= c[1] then return OTHER end -- of several places, requeued, or in lines of tenants

local conf = call('HMGET', KEYS[1], 'revision', 'paused', 'max_attempts', 'timeout_ms', 'limit:' .. route, 'limits',
  'retention_results_ms', 'cost:' .. route)
local expiry = call('ZSCORE', prefix .. 'workers', worker)
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000) + (c[11] or 0) -- only tests set an offset
local now = clock + (c[12] or 0)
if not conf[1] or conf[2] == '1' or conf[8] or (conf[6] and conf[6] ~= '[]') or not expiry or tonumber(expiry) <= now then return OTHER end

-- The jobs that start.
local stream = prefix .. 's' .. place
local running = tonumber(c[6] or 0) - #ended -- of the route
local room = setting_or(conf[5], math.huge) - running
local want = math.min(queued, limit, room, CALL_ARGS_MAX)
if queued > 0 and want <= 0 then return OTHER end -- the bell may have to ring, or a critical job waits for this route
local started, bytes = {}, 0
for i, head in ipairs(want > 0 and call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', want) or {}) do
  if bytes >= BYTES_MAX then break end
  local id = head[2][2]
  local v = record_of(id)
  if v[1] ~= 'queued' or v[3] ~= head[1] or v[4] or v[5] then return OTHER end
  local spec = read_spec(v[2])
  if not spec or spec.place ~= place or find(spec.flags, STARTS_SPECIALLY) then return OTHER end
  started[i] = { id, spec.label, head[1], v[2], v[6] }
  bytes = bytes + #(v[6] or '')
end
if want > 0 and #started == 0 then return OTHER end

call('HDEL', counters_key, '-') -- a first write that takes no memory: jobs end although memory is full

-- Returns whether the group has delivered the entries of the jobs that start. Otherwise a hand has changed or destroyed the
-- group: delivered entries are requeued, and maintenance finds their places.
local function has_delivered()
  if #started == 0 then return true end
  local read = redis.pcall('XREADGROUP', 'GROUP', 'pool', worker, 'COUNT', #started, 'STREAMS', stream, '>')
  local entries = read and not read.err and read[1][2] or {}
  local same = #entries == #started
  for i, entry in ipairs(entries) do same = same and entry[1] == started[i][3] end
  for _, entry in ipairs(same and {} or entries) do call('XCLAIM', stream, 'pool', '~ready', 0, entry[1], 'JUSTID') end
  return same
end

if not has_delivered() then return OTHER end
local texts = {}
local now_text = string.format('%.0f', now)
local keep_ms = setting_or(conf[7], 86400000)
local outcomes, ids, run_ms = {}, {}, tonumber(c[9] or 0)
for i, job in ipairs(ended) do
  local key = prefix .. 'job:' .. job[1]
  call('HSET', key, 'state', 'succeeded', 'ended', now_text, 'result', job[3])
  call('PEXPIRE', key, keep_ms)
  texts[i] = 'succeeded ' .. job[1] .. ' ' .. job[2] .. ' '
  outcomes[i], ids[i] = 'applied', job[1]
  run_ms = run_ms + math.max(0, now - claimed_at[i])
end

local reply = { 'ok', conf[1], clock, setting_or(conf[3], 5), setting_or(conf[4], 900000) }
if #started > 0 then
  local lease = '1 1 ' .. now_text .. ' ' .. worker
  local n = #reply
  for _, job in ipairs(started) do
    call('HSET', prefix .. 'job:' .. job[1], 'state', 'running', 'lease', lease)
    texts[#texts + 1] = 'started ' .. job[1] .. ' ' .. job[2] .. ' 1 ' .. worker .. ' '
    reply[n + 1], reply[n + 2], reply[n + 3] = job[1], lease, job[3]
    reply[n + 4], reply[n + 5], reply[n + 6] = job[4], job[5], ''
    n = n + 6
  end
  cursor = started[#started][3]
end

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

local taken = #started
call('HSET', counters_key, 'c' .. place, cursor, 'queued', queued - taken, 'q' .. place, (c[2] or 0) - taken,
  'running', (c[4] or 0) - #ended + taken, 'started', (c[5] or 0) + taken, 'r:' .. route, running + taken,
  'finished', (c[7] or 0) + #ended, 'succeeded', (c[8] or 0) + #ended, 'attempts', (c[10] or 0) + #ended,
  'run_ms', string.format('%.0f', run_ms))
for first = 1, #ids, EVENTS_AN_ENTRY do
  call('XADD', prefix .. 'ended:succeeded', '*', 'jobs', table.concat(ids, ' ', first, math.min(first + EVENTS_AN_ENTRY - 1, #ids)))
end
for first = 1, #texts, EVENTS_AN_ENTRY do
  local event = {}
  for i = first, math.min(first + EVENTS_AN_ENTRY - 1, #texts) do
    event[#event + 1] = i - 1
    event[#event + 1] = texts[i]
  end
  call('XADD', events_key, 'MAXLEN', '~', EVENTS_MAX, '*', unpack(event))
end
if queued > taken and room > taken and call('LLEN', prefix .. 'bell') == 0 then call('RPUSH', prefix .. 'bell', '1') end
return { outcomes, reply }
