-- The pool's keys, time and counters. First part of every script.
--
-- KEYS[1] is the pool's `conf` hash. All other keys are derived from KEYS[1], carry the same hash tag, and share its slot.
-- core/agentpool_core/queue/keys.py describes the keys; a test compares the names. The counters are the hash `counters`.
-- Only Redis's clock decides, never a caller's. lib/clock.lua maintains the field `clock_ahead_ms`; only tests set
-- `clock_offset_ms`.

local PREFIX = string.sub(KEYS[1], 1, -5)
local CONF = KEYS[1]
local COUNTERS = PREFIX .. 'counters'
local DUE = PREFIX .. 'due'
local TTL = PREFIX .. 'ttl'
local DEAD = PREFIX .. 'dead'
local BLOCKED = PREFIX .. 'blocked'
local WAITING = PREFIX .. 'waiting'
local RELEASING = PREFIX .. 'releasing'
local YIELD = PREFIX .. 'yield'
local SUSPECTS = PREFIX .. 'suspects'
local LIMITED = PREFIX .. 'limited'
local LIMIT_TIMES = PREFIX .. 'limit-times'
local LIMIT_OVERRIDES = PREFIX .. 'limit-overrides'
local WORKERS = PREFIX .. 'workers'
local WORKER_INFO = PREFIX .. 'worker-info'
local WORKER_KINDS = PREFIX .. 'worker-kinds'
local BELL = PREFIX .. 'bell'
local EVENTS = PREFIX .. 'events'
local ENDED = PREFIX .. 'ended:' -- with a state: jobs that ended so

local GROUP = 'pool'
local READY = '~ready'
local PARKED = '~parked'
local HELD = '~held'
local LINED = '~lined'
local SWEEPER = '~sweeper'
local SUSPECT = '~suspect'

local EVENTS_MAX = 10000 -- approximate number of events kept
local LIST_TTL_SECONDS = 3600 -- of orders and inboxes without a reader
local LOG_MAX_BYTES = 4096 -- of a job's own history; the middle is dropped first
local PRESSURE_EVERY_MS = 100 -- between two pressure signals
local CALL_ARGS_MAX = 1000 -- ids in one command

-- Returns the number, or `default` for a text that is no finite number.
local function number_or(text, default)
  local number = tonumber(text or nil)
  if number and number - number == 0 then return number end
  return default
end

-- Whether clients read the text as a whole number. Lua accepts more: `0.`, `0x1`, `1e9`, `inf`.
local function is_whole(text)
  return string.find(text, '^%-?%d+$') ~= nil
end

-- Returns a setting of the pool, or `default` for a text that is no whole number, as clients do, or has 16 digits and
-- more: commands such as PEXPIRE refuse what Lua cannot write in digits.
local function setting_or(text, default)
  if text and #text < 16 and is_whole(text) then return number_or(text, default) end
  return default
end

-- Returns the limits in the setting `limits` that clients accept (settings.py); a different version of AgentPool may have
-- written it. An unusable limit is ignored.
local function read_limits(text)
  local LARGEST = 2 ^ 53
  local function is_number(value) return type(value) == 'number' and value >= 1 and value <= LARGEST and value % 1 == 0 end
  local function is_list(value)
    if value ~= nil and type(value) ~= 'table' then return false end
    for _, name in ipairs(value or {}) do
      if type(name) ~= 'string' then return false end
    end
    return true
  end
  local function is_usable(limit)
    if type(limit) ~= 'table' or type(limit.name) ~= 'string' or not string.find(limit.name, '^[a-z0-9-]+$') then return false end
    if limit.by ~= nil and limit.by ~= 'key' and limit.by ~= 'tenant' then return false end
    if not (is_list(limit.kinds) and is_list(limit.routes)) then return false end
    if limit.amount ~= nil then return is_number(limit.amount) and is_number(limit.window_ms) end
    if limit.count == nil then return is_number(limit.max_running) end
    if limit.tokens ~= nil and limit.tokens ~= true then return false end
    return is_number(limit.count) and is_number(limit.period_ms) and is_number(limit.burst)
  end
  local readable, found = pcall(cjson.decode, text or '[]')
  local usable = {}
  for _, limit in ipairs(readable and type(found) == 'table' and found or {}) do
    if is_usable(limit) then usable[#usable + 1] = limit end
  end
  return usable
end

local time = redis.call('TIME')
local off = redis.call('HMGET', COUNTERS, 'clock_offset_ms', 'clock_ahead_ms')
local ahead = number_or(off[2], 0) -- of the clock that entry ids use
local now = time[1] * 1000 + math.floor(time[2] / 1000) + number_or(off[1], 0) + ahead
local now_text = string.format('%.0f', now) -- converted once, because formatting is slow and scripts write the time often

-- Changes of counters, written once at the end of a script.
local deltas = {}

local function bump(field, by)
  deltas[field] = (deltas[field] or 0) + by
end

-- Returns the value of a counter, with the changes of this script.
local function counter_of(field)
  return number_or(redis.call('HGET', COUNTERS, field), 0) + (deltas[field] or 0)
end

local function write_books()
  for field, by in pairs(deltas) do
    -- A counter that is no number restarts here; lib/recount.lua corrects its value.
    if by ~= 0 and type(redis.pcall('HINCRBY', COUNTERS, field, by)) == 'table' then redis.call('HSET', COUNTERS, field, by) end
  end
  deltas = {}
end

-- Other work for the end of a script: lib/announce.lua does it.
local collected = {
  parents = {}, -- ended jobs with children: {id, state, result}
  group_ends = {}, -- ended children of groups: {key, state, result, error or reason}
  lined = {}, -- number of appended entries of jobs with tenants, by place
  tenants = {}, -- digests of these tenants, by entry
  freed = {}, -- buckets that jobs have left, as keys
  charged = {}, -- rooms of rates whose time changed, by bucket
  ready_count = 0, -- jobs that became ready
  ready_critical = {}, -- routes of the critical ones
  events = {}, -- number, 'change id kind|route|priority attempt worker detail', ...
  ended = {}, -- jobs by state; dead letters have an order of their own
}

-- Entries to acknowledge and delete, by stream, written together at the end of a script.
local acked = {}

local function drop_entry(stream, entry)
  local ids = acked[stream]
  if not ids then
    ids = {}
    acked[stream] = ids
  end
  ids[#ids + 1] = entry
end

local function each_slice(ids, command, ...)
  for first = 1, #ids, CALL_ARGS_MAX do
    local args = { ... }
    for i = first, math.min(first + CALL_ARGS_MAX - 1, #ids) do args[#args + 1] = ids[i] end
    redis.call(command, unpack(args))
  end
end

-- Acknowledges and deletes the entries. The server no longer knows the group's lag once the last delivered entry is deleted
-- while an older entry exists. That entry therefore stays, acknowledged, until it is the oldest or a later entry has been
-- delivered; the counter field `d:PLACE` holds its id.
local function write_acks()
  for stream, ids in pairs(acked) do
    local place = string.sub(stream, #PREFIX + 2)
    local v = redis.call('HMGET', COUNTERS, 'c' .. place, 'd' .. place)
    local cursor, kept = v[1], v[2]
    if kept and not string.match(kept, '^%d+%-%d+$') then
      redis.call('HDEL', COUNTERS, 'd' .. place)
      kept = nil
    end
    local last = kept == cursor and kept or nil
    local gone = {}
    if kept and not last then gone[1] = kept end
    for _, id in ipairs(ids) do
      if id == cursor then last = id else gone[#gone + 1] = id end
    end
    each_slice(ids, 'XACK', stream, GROUP)
    each_slice(gone, 'XDEL', stream)
    local oldest = last and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if last and (not oldest or oldest[1] == last) then -- no entry: a hand has trimmed the stream
      redis.call('XDEL', stream, last)
      last = nil
    end
    if last ~= (kept or nil) then
      if last then redis.call('HSET', COUNTERS, 'd' .. place, last) else redis.call('HDEL', COUNTERS, 'd' .. place) end
    end
  end
  acked = {}
end

local function stream_of(route, priority)
  return PREFIX .. 's:' .. route .. ':' .. priority
end

-- Converts a reply of alternating fields and values to a table.
local function pairs_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- Returns the keys of all streams of the pool.
local function streams()
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', COUNTERS)) do
    local route, priority = string.match(field, '^c:(.+):(%a+)$')
    if route then found[#found + 1] = stream_of(route, priority) end
  end
  return found
end

-- Returns the two numbers of an entry id.
local function id_parts(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function id_after(a, b)
  local a_ms, a_seq = id_parts(a)
  local b_ms, b_seq = id_parts(b)
  if a_ms ~= b_ms then return a_ms > b_ms end
  return a_seq > b_seq
end

-- Lets a script write at full memory, because jobs must still end. Redis refuses a script only if its first write takes
-- memory; scripts that free memory therefore start with a deletion.
local function write_though_memory_is_full()
  redis.call('HDEL', COUNTERS, '-')
end

local function slots_of(worker)
  local info = redis.call('HGET', WORKER_INFO, worker)
  return info and tonumber(string.match(info, '^(%d+)')) or 0
end

local function ring()
  if redis.call('LLEN', BELL) == 0 then redis.call('RPUSH', BELL, '1') end
end
